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
from dgmlib.bugs import Bug, Subject, subjects, wrong
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


def test_the_page_of_the_museum_holds_every_entry_and_no_private_name():
    course = Course(Path(__file__).resolve().parents[1])
    page = re.sub(r"^  ```diff\n.*?^  ```\n", "", "\n".join(bug_museum(course)), flags=re.M | re.S)
    index, entries = page.split("(museum-01)=", 1)
    assert not re.search(r"<lambda>|<locals>|\b_\w+|dgmlib\.bugs", re.sub(r"\\_", " ", page).replace("{py:obj}", ""))
    for name, subject in subjects().items():
        assert f"](#museum-{name}) {len(subject.bugs)}" in index and f"(museum-{name})=\n### {name}\n" in page
    for part, number in (("Symptom", len(VARIANTS)), ("Look at", len(VARIANTS)), ("Cure", len(VARIANTS))):
        assert len(re.findall(rf"^  - \*{part}:\* \S", entries, re.M)) == number
    assert len(re.findall(r"^  - \*What holds:\* \S", entries, re.M)) == len(bugs.slips())
    assert len(re.findall(r"^  - \*Seen by:\* \S", entries, re.M)) == len(VARIANTS) + len(bugs.slips())


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
