"""No check of a chapter has a control that proves nothing."""

import json
from pathlib import Path

import pytest
from controls import Hollow, Reading
from course import Course, read_chapter

COURSE = Course(Path(__file__).resolve().parents[1])

# Hollow by the letter only, each with the reason why it must be.
EXCUSED = {
    # What these come to on average is known in closed form; the museum's functions can only draw them.
    Hollow("does not call the museum's function", "07", 37, "eq-ae-denoising", "denoise-noisy-target"),
    Hollow("does not call the museum's function", "08", 106, "eq-ais {}", "ais-late-weight"),
}


@pytest.mark.parametrize("chapter", COURSE.chapters.values(), ids=lambda chapter: chapter.slug)
def test_every_control_proves_something(chapter):
    assert [
        str(hollow) for hollow in Reading(chapter, COURSE.family(chapter.number)).hollow if hollow not in EXCUSED
    ] == []


def test_every_excuse_is_needed():
    found = {
        hollow
        for chapter in COURSE.chapters.values()
        for hollow in Reading(chapter, COURSE.family(chapter.number)).hollow
    }
    assert EXCUSED <= found


# --- the lint itself --------------------------------------------------------------------------------------------------

START = """
import math
import torch
from scipy import stats
from unittest import mock
from dgmlib import divergences as dv
from dgmlib import pixelcnn
from dgmlib.bugs import wrong
from dgmlib.notebook import check
from dgmlib.worlds import LinearGaussian
p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.9, 0.1])
"""


def kinds(tmp_path, code, label="eq-a"):
    """What the lint says of a chapter with one equation and these cells."""
    cells = [{"cell_type": "markdown", "source": f"$$ x $$ ({label})"}]
    cells += [{"cell_type": "code", "source": part} for part in (START, *code.split("---"))]
    path = tmp_path / "01_planted.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": {}}))
    return [hollow.kind for hollow in Reading(read_chapter(path)).hollow]


def test_a_companions_check_of_its_chapters_equation_needs_a_control(tmp_path):
    pages = []
    for name, cell in {
        "01_x": {"cell_type": "markdown", "source": "$$ x $$ (eq-a)"},
        "01b_more": {"cell_type": "code", "source": "check.equal('eq-a', f(1), g(1))"},
    }.items():
        (tmp_path / f"{name}.ipynb").write_text(json.dumps({"cells": [cell], "metadata": {}}))
        pages.append(read_chapter(tmp_path / f"{name}.ipynb"))
    assert [[hollow.kind for hollow in Reading(page, pages).hollow] for page in pages] == [[], [NOTHING]]


TYPED, MADE = "is a typed constant", "is made from the right side"
RETYPED, SWAPPED = "does not call the museum's function", "has its sides merely swapped"
NOTHING, ITSELF = "has no wrong form, and no word why", "compares an expression with itself"
NAN = "is NaN or infinite"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("check.equal('eq-a', p.sum(), 1.0, wrong={'E0-01': 0.7})", TYPED),
        ("check.equal('eq-a', p.sum(), 1.0, wrong={'E0-01': 7 * math.log(2)})", TYPED),
        ("check.equal('eq-a', p, q, wrong={'E0-01': torch.zeros_like(p)})", TYPED),
        ("check.equal('eq-a', p, q, wrong={'E0-01': torch.full((2,), 0.3)})", TYPED),
        ("check.equal('eq-a', p, q, wrong={'E0-01': 0 * q})", TYPED),
        ("off = 0.7\n---\ncheck.equal('eq-a', p.sum(), 1.0, wrong={'E0-01': off})", TYPED),
        ("check.equal('eq-a', p.sum(), 1.0, wrong={'E0-01': 0.7} if p[0] else {})", TYPED),
        ("check.at_most('eq-a', p.min(), p.max(), wrong={'E0-01': (0.7, 0.2)})", TYPED),
        ("check.at_most('eq-a', p.min(), p.max(), wrong={'E0-01': (p.min(), 0.0)})", TYPED),
        ("check.estimate('eq-a', p, 0.5, wrong={'E0-01': 1 / 3})", TYPED),
        ("bad = {'E0-01': 0.7}\ncheck.equal('eq-a', p.sum(), 1.0, wrong=bad)", TYPED),
        ("check.equal('eq-a', p, q, wrong={'E0-01': math.nan})", NAN),
        ("check.equal('eq-a', p, q, wrong={'E0-01': float('nan')})", NAN),
        ("check.equal('eq-a', p, q, wrong={'E0-01': -math.inf * p})", NAN),
        ("r = p.sum()\ncheck.equal('eq-a', r, q.sum(), wrong={'E0-01': r + 1})", MADE),
        ("check.equal('eq-a', p.sum(), q.sum(), wrong={'E0-01': 2 * q.sum()})", MADE),
        ("check.equal('eq-a', p.sum(), q.sum(), wrong={'E0-01': -q.sum()})", MADE),
        ("check.equal('eq-a', p.exp(), q.exp(), wrong={'E0-01': q.exp().flip(0)})", MADE),
        ("off = p.sum() / 3\ncheck.equal('eq-a', p.sum(), q.sum(), wrong={'E0-01': off})", MADE),
        ("check.at_most('eq-a', p.min(), q.max(), wrong={'E0-01': (p.min() * 9, q.max())})", MADE),
        ("check.chain('eq-a', [p.sum(), q.sum(), 1.0], wrong={'E0-01': p.sum() ** 3})", MADE),
        ("check.at_most('eq-a', p.min(), q.max(), wrong={'E0-01': (q.max(), p.min())})", SWAPPED),
        ("check.equal('eq-a', p.sum(), 1.0, wrong={'kl-mean': (p * (p / q).log()).mean()})", RETYPED),
        ("check.equal('eq-a', p.sum(), 1.0, wrong={'kl-mean': wrong('kl', 'kl-sign')(p, q)})", RETYPED),
        ("check.equal('eq-a', p.sum(), q.sum())", NOTHING),
        ("check.equal('eq-a', p.sum(), p.sum(), wrong={'E0-01': p.prod()})", ITSELF),
        (
            "check.equal('eq-a', dv.entropy(p), dv.entropy(q) + 1, wrong={'E0-01': p.prod()})",
            "reaches divergences.entropy on both sides",
        ),
        (
            "left, right = dv.entropy(p), dv.entropy(q)\ncheck.equal('eq-a', left, right, wrong={'E0-01': p.prod()})",
            "reaches divergences.entropy on both sides",
        ),
        (
            "def mine(x):\n    return 2 * dv.entropy(x)\n---\n"
            "check.equal('eq-a', mine(p), dv.entropy(q), wrong={'E0-01': p.prod()})",
            "reaches divergences.entropy on both sides",
        ),
        (
            "one, two = LinearGaussian(p, q, 1.0), LinearGaussian(q, p, 1.0)\n"
            "check.equal('eq-a', one.log_prob(p), two.log_prob(p), wrong={'E0-01': p.prod()})",
            "reaches LinearGaussian.log_prob on both sides",
        ),
    ],
)
def test_planted_hollow_controls_are_found(tmp_path, code, expected):
    assert kinds(tmp_path, code) == [expected]


@pytest.mark.parametrize(
    "code",
    [
        "check.equal('eq-a', p.sum(), 1.0, wrong={'E0-01': p.prod()})",
        "check.equal('eq-a', p.sum(), 1.0, wrong={'E0-01': stats.norm.cdf(0.3)})",
        "check.equal('eq-a', p.sum(), q.sum(), wrong={'E0-01': p.sum() * q[0]})",
        "check.equal('eq-a', p.softmax(0), q, wrong={'E0-01': p})",  # an input taken for the answer
        "check.equal('eq-a', p.sum(), 1.0, wrong={'kl-mean': wrong('kl', 'kl-mean')(p, q)})",
        "ids = ('kl-mean', 'kl-sign')\n---\n"
        "check.equal('eq-a', p.sum(), 1.0, wrong={id: wrong('kl', id)(p, q) for id in ids})",
        "bad = {id: wrong('kl', id)(p, q) for id in ('kl-mean', 'kl-sign')}\n---\n"
        "check.equal('eq-a', p.sum(), 1.0, wrong={'kl-sign': bad['kl-sign']})",
        "def slip(id):\n    return wrong('kl', id)(p, q)\n---\n"
        "check.equal('eq-a', p.sum(), 1.0, wrong={'kl-mean': slip('kl-mean')})",
        "with mock.patch.object(pixelcnn, 'causal_mask', wrong('causal-mask', 'mask-b-first')):\n"
        "    seen = p * 2\n---\ncheck.equal('eq-a', p.sum(), 1.0, wrong={'mask-b-first': seen})",
        "# Nothing to reject: it is a definition.\ncheck.equal('eq-a', p.sum(), 1.0)",
        "check.at_most('eq-a', p.min(), q.max(), wrong={'E0-01': (p.max(), q.min())})",
        "world = LinearGaussian(p, q, 1.0)\nsame = world.log_prob(p)\n"
        "check.equal('eq-a', same * 2, same + same, wrong={'E0-01': p.prod()})",  # an ingredient of both
        "r = p.sum()\n---\nr = q.prod()\n---\ncheck.equal('eq-a', p.sum(), q.sum(), wrong={'E0-01': r})",
    ],
)
def test_controls_that_prove_something_pass(tmp_path, code):
    assert kinds(tmp_path, code) == []


def test_an_equation_that_nothing_checks_is_for_another_test(tmp_path):
    assert kinds(tmp_path, "p.sum()") == []
