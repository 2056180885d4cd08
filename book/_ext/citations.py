"""How references look: (Uria et al., 2016) in the text, and the same label before the entry in the bibliography."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import sphinxcontrib.bibtex.plugin
from pybtex.database import Entry, Person
from pybtex.plugin import register_plugin
from pybtex.richtext import Text
from pybtex.style.formatting.unsrt import Style as UnsortedStyle
from pybtex.style.labels import BaseLabelStyle
from sphinxcontrib.bibtex.style.referencing import BracketStyle
from sphinxcontrib.bibtex.style.referencing.label import LabelReferenceStyle


def surname(person: Person) -> str:
    return str(Text(" ").join(person.rich_prelast_names + person.rich_last_names))


def author_year(entry: Entry) -> str:
    """Who and when: one name, two, or the first of many."""
    names = [surname(person) for person in entry.persons["author"]]
    who = names[0] + " et al." if len(names) > 2 else " & ".join(names)
    return f"{who}, {entry.fields['year']}"


class AuthorYearLabels(BaseLabelStyle):
    def format_labels(self, sorted_entries: Iterable[Entry]) -> Iterator[str]:
        """A label an entry; those that would be equal end in a, b, …"""
        labels = [author_year(entry) for entry in sorted_entries]
        many, seen = Counter(labels), Counter()
        for label in labels:
            seen[label] += 1
            yield label + (chr(ord("a") + seen[label] - 1) if many[label] > 1 else "")


class CourseStyle(UnsortedStyle):
    default_label_style = AuthorYearLabels
    default_sorting_style = "author_year_title"


@dataclass
class RoundReferences(LabelReferenceStyle):
    bracket_parenthetical: BracketStyle = field(default_factory=lambda: BracketStyle("(", ")", sep="; "))


def register() -> None:
    register_plugin("pybtex.style.formatting", "course", CourseStyle)
    sphinxcontrib.bibtex.plugin.register_plugin("sphinxcontrib.bibtex.style.referencing", "course", RoundReferences)
