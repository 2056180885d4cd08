"""The museum of known bugs: every variant is wrong, by much, and no two are the same."""

import itertools
import re
import sys
from pathlib import Path

import pytest
import torch
from course import Course
from pages import bug_museum

from dgmlib import bugs
from dgmlib.bugs import Bug, Edit, Subject, edit, subjects, wrong
from dgmlib.core import checked
from dgmlib.divergences import entropy, kl_divergence
from dgmlib.notebook import alike, diagnose, outcome

VARIANTS = [(subject, bug) for subject in subjects().values() for bug in subject.bugs]


def names(value):
    return value.name if isinstance(value, Subject) else value.id


def is_short(text):
    return 0 < len(text.strip()) <= 240 and text.count("\n") <= 1


def is_twin(subject, one, other):
    """Does `subject` fail to tell these two functions apart, by at least 100 times the tolerance?"""
    return alike(outcome(one, subject.probes), outcome(other, subject.probes), loosened=100.0)


@pytest.mark.parametrize("subject", subjects().values(), ids=names)
def test_the_right_function_is_right(subject):
    assert diagnose(subject.name, subject.right).verdict == "right"


@pytest.mark.parametrize(("subject", "bug"), VARIANTS, ids=names)
def test_every_bug_is_rejected_and_named(subject, bug):
    assert not is_twin(subject, bug.wrong, subject.right)
    assert diagnose(subject.name, bug.wrong).bug is bug


@pytest.mark.parametrize("subject", subjects().values(), ids=names)
def test_variants_differ_from_each_other(subject):
    twins = [
        f"{a.id} = {b.id}" for a, b in itertools.combinations(subject.bugs, 2) if is_twin(subject, a.wrong, b.wrong)
    ]
    assert not twins


@pytest.mark.parametrize("subject", subjects().values(), ids=names)
def test_a_subject_is_well_formed(subject):
    assert subject.probes and subject.bugs
    assert len({bug.id for bug in subject.bugs}) == len(subject.bugs)
    assert len({bug.name for bug in subject.bugs}) == len(subject.bugs)
    for bug in subject.bugs:
        for field in ("story", "name", "symptom", "place", "cure"):
            assert is_short(getattr(bug, field)), f"{bug.id}: its {field} is two lines at most, and not empty"


def test_twins_are_seen():
    twice = Subject("twice", lambda x: 2 * x, ((torch.tensor(3.0, dtype=torch.float64),),), ())
    assert is_twin(twice, twice.right, lambda x: x + x + 1e-7)
    assert not is_twin(twice, twice.right, lambda x: x + x + 1e-5)


@pytest.fixture
def extra(tmp_path, monkeypatch):
    """Add data modules to the museum for one test."""

    def add(name, source):
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.setattr(bugs, "__path__", [*bugs.__path__, str(tmp_path)])
        monkeypatch.delitem(sys.modules, f"dgmlib.bugs.{name}", raising=False)
        subjects.cache_clear()

    yield add
    subjects.cache_clear()


HALVED = """
from dgmlib.bugs import Bug, Subject
HALF = Bug("halved", "Half.", lambda x: x * x / 2, name="halved", symptom="half", place="the factor", cure="x * x")
SUBJECTS = (Subject("fake-square", lambda x: x * x, ((3.0,),), (HALF,)),)
"""


def test_data_modules_are_found(extra):
    extra("fake_museum", HALVED)
    assert wrong("fake-square", "halved")(3.0) == 4.5


def test_a_name_stands_once(extra):
    extra("fake_museum_1", HALVED)
    extra("fake_museum_2", HALVED)
    with pytest.raises(ValueError, match=r"'fake-square' stands twice, the second time in dgmlib\.bugs\.fake_museum_2"):
        subjects()


def test_what_is_not_there_is_refused_with_what_is(extra):
    extra("fake_museum_3", HALVED)
    with pytest.raises(ValueError, match=r"subject is 'nothing', expected one of .*'fake-square'"):
        wrong("nothing", "halved")
    with pytest.raises(ValueError, match="bug_id is 'doubled', expected one of 'halved'"):
        wrong("fake-square", "doubled")


def test_what_is_told_and_what_is_wrong_have_the_same_ids():
    told = {name: table for tables in bugs._told().values() for name, table in tables.items() if name != "slips"}
    assert told.keys() == subjects().keys()
    with pytest.raises(ValueError, match="tv has 'new', 'tv-l2', 'tv-max' in one place only, expected a variant and a"):
        bugs.subject("tv", abs, (), {"tv-l1": abs, "new": abs})


def test_a_bug_tells_symptom_place_and_cure():
    told = {"name": "negative kept", "symptom": "a loss below 0", "place": "the sign", "cure": "abs"}
    assert Bug("slug", "A story.", abs, **told).place == "the sign"
    for field in told:
        with pytest.raises(TypeError, match=field):
            Bug("slug", "A story.", abs, **{key: text for key, text in told.items() if key != field})


def test_a_slip_says_what_holds_and_where_it_misleads():
    for id, slip in bugs.slips().items():
        for field in ("story", "name", "holds", "misleads"):
            assert is_short(getattr(slip, field)), f"{id}: its {field} is two lines at most, and not empty"
    for _, slips in bugs.by_chapter().values():
        assert len({slip.name for slip in slips.values()}) == len(slips)


@pytest.fixture(scope="module")
def museum_page():
    return "\n".join(bug_museum(Course(Path(__file__).resolve().parents[1])))


def test_the_page_of_the_museum_holds_every_entry_and_no_private_name(museum_page):
    page = re.sub(r"^```diff\n.*?^```\n", "", museum_page, flags=re.M | re.S)
    index, entries = page.split("(museum-01)=", 1)
    assert not re.search(r"<lambda>|<locals>|\b_\w+|dgmlib\.bugs", re.sub(r"\\_", " ", page).replace("{py:obj}", ""))
    for name in subjects():
        assert f"](#museum-{name})" in index and f"(museum-{name})=\n### {name.replace('-', ' ')}\n" in page
    for part, number in (("Symptom", len(VARIANTS)), ("Look at", len(VARIANTS)), ("Cure", len(VARIANTS))):
        assert len(re.findall(rf"^- \*{part}:\* \S", entries, re.M)) == number
    assert len(re.findall(r"^- \*What holds:\* \S", entries, re.M)) == len(bugs.slips())
    assert len(re.findall(r"^- \*Seen by:\* \S", entries, re.M)) == len(VARIANTS) + len(bugs.slips())


def test_every_subject_names_a_public_function_of_its_chapter():
    for number, (listed, _) in bugs.by_chapter().items():
        for subject in listed:
            module = sys.modules[".".join(subject.function.split(".")[:2])]
            assert not module.__name__.startswith("dgmlib.bugs"), subject.name
            assert f"(chapter {number})" in module.__doc__ or "(chapter" not in module.__doc__, subject.name


def test_every_wrong_form_in_a_chapter_is_an_erratum_or_a_listed_mistake():
    course = Course(Path(__file__).resolve().parents[1])
    listed = course.notes.keys() | bugs.slips().keys() | {bug.id for _, bug in VARIANTS}
    assert [check for check in course.checks if set(check.wrong) - listed] == []


def test_a_slip_that_stands_twice_is_refused(monkeypatch):
    slip = {"story": "A story.", "name": "a name", "holds": "something", "misleads": "somewhere"}
    monkeypatch.setattr(bugs, "_told", lambda: {"divergences": {"slips": {"kl-mean": slip}}})
    bugs.slips.cache_clear()
    with pytest.raises(ValueError, match="'kl-mean' stands twice"):
        bugs.slips()
    bugs.slips.cache_clear()


# --- a bug is an edit -----------------------------------------------------------------------------------------------


@checked
def squared(x: float, times: int = 1) -> float:
    """x * x, that many times."""
    return x * x * times  # x * x


class Line:
    """slope * x"""

    def __init__(self, slope):
        self.slope = slope

    def at(self, x):
        """slope * x"""
        return self.slope * x

    def risen(self, x):
        return self.at(x) - self.at(0)


def at(line, x):
    return line.at(x)


DOUBLED = Edit((("return x * x", "return 2 * x"),), of=squared, right=squared)
FALLING = (("self.slope * x", "-self.slope * x"),)


def test_an_edit_is_called_as_the_function_is_and_checked_as_it_is():
    assert DOUBLED(3.0) == 6.0 and DOUBLED(3.0, times=2) == 12.0 and squared(3.0) == 9.0
    with pytest.raises(TypeError, match="x is 'three', expected a number"):
        DOUBLED("three")
    both = Edit((*DOUBLED.changes, ("* times", "+ times")), of=squared, right=squared)
    assert both(3.0, 2) == 8.0


def test_an_edit_shows_the_two_lines():
    signature = "def squared(x: float, times: int = 1) -> float:"
    assert DOUBLED.diff() == f" {signature}\n-    return x * x * times  # x * x\n+    return 2 * x * times  # x * x"
    told = {"name": "a", "symptom": "b", "place": "c", "cure": "d"}
    assert Bug("slug", "A story.", DOUBLED, **told).diff() == DOUBLED.diff()
    assert Bug("slug", "A story.", abs, **told).diff() == ""


@pytest.mark.parametrize(("text", "times"), [("x / x", 0), ("x * x", 2), ("that many", 0)])
def test_an_edit_whose_text_does_not_stand_once_is_refused(text, times):
    says = f"^{re.escape(repr(text))} stands {times} times in {squared.__module__}.squared, expected once$"
    for use in (lambda change: change(3.0), lambda change: change.diff()):
        with pytest.raises(ValueError, match=says):
            use(Edit(((text, "y"),), of=squared, right=squared))


@pytest.mark.parametrize("right", [Line.at, Line.risen, at])
def test_an_edit_of_a_method_reaches_who_calls_it(right):
    falling, line = Edit(FALLING, of=Line.at, right=right), Line(2.0)
    assert falling(line, 3.0) == -6.0 and right(line, 3.0) == 6.0 and line.at(3.0) == 6.0
    assert Edit(FALLING, of=Line, right=Line(2.0).risen)(3.0) == -6.0


def test_an_edit_reaches_through_what_calls_it_by_name():
    halved = Edit((("-_x_log_y", "-0.5 * _x_log_y"),), of=entropy, right=lambda p: entropy(p) + 1)
    halved.right.__module__ = "dgmlib.somewhere"  # only the library's own functions are followed
    p = torch.full((4,), 0.25)
    assert halved(p) == pytest.approx(float(entropy(p)) / 2 + 1)


def test_an_edit_of_what_is_not_called_is_refused():
    lost = Edit((("-_x_log_y", "_x_log_y"),), of=entropy, right=kl_divergence)
    with pytest.raises(ValueError, match=r"kl_divergence does not call dgmlib\.divergences\.entropy by its name"):
        lost(torch.ones(1), torch.ones(1))


def test_every_edit_compiles_and_is_shown():
    for _, bug in VARIANTS:
        if isinstance(bug.wrong, Edit):
            assert callable(bug.wrong._compiled[0]) and re.search(r"^[+-]", bug.diff(), re.M), bug.id


def test_an_edit_is_compiled_when_it_is_called():
    fresh = edit("return x * x", "return x + x", of=squared)
    assert "_compiled" not in vars(fresh) and fresh.of is squared


def test_the_page_shows_what_an_edit_changes(museum_page):
    assert museum_page.count("\n```diff\n") == sum(bool(bug.diff()) for _, bug in VARIANTS)
    assert "\n-    return 0.5 * (mean.square()" in museum_page
