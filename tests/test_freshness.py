"""What makes a chapter stale: what its code reaches in dgmlib, under any Python, and nothing else."""

import ast
import copy
import hashlib
import shutil
from pathlib import Path

import nbformat
import pytest
from freshness import Library, canonical, fingerprint

ROOT = Path(__file__).resolve().parents[1]

# --- a tree as text --------------------------------------------------------------------------------------------------

EVERYTHING = r"""
x = f"a" "b" f"{y!r:>{w}} c{{d}}" 'e', f"{x=}", f"{x:}", f"{x:%Y-%m}", f"{x}{y}" f"", f"" "", f"{'a' 'b'}"
y = rf"\d{x}\n", f"{x:{a}b{c}}", f"{x!s:}", f"a{{b}}c{x}d{{", "\U0001FAE9 \ue000 é", u"u", b"\xff", 1e400, 1j, ...
def f(a, /, b=1, *c, d, e=None, **g): return [i async for i in x], {**a, 1: 2}, lambda: (yield)
match x:
    case {"a": None, **r} | [1, *_] if x: pass
    case A(b=True): pass
try: pass
except* E as e: raise
with (a as b, c): del x; assert x[1:, ::2], y
@a.b
class C(D, metaclass=E): x: int = 3
"""


def test_the_text_is_one_under_every_python():
    """The hash is the one that Python 3.11, 3.12 and 3.13 gave, of which `ast.dump` makes three texts."""
    assert hashlib.sha256(canonical(ast.parse(EVERYTHING)).encode()).hexdigest()[:16] == "d01d93353c076d8c"


def test_fields_that_a_version_adds_empty_leave_no_trace():
    tree = ast.parse(EVERYTHING)
    text = canonical(tree)
    with_types, without = copy.deepcopy(tree), copy.deepcopy(tree)
    for node in ast.walk(with_types):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            node.type_params = []
            node._fields = tuple(dict.fromkeys((*node._fields, "type_params")))  # as from 3.12 on
    for node in ast.walk(without):
        for field, value in list(ast.iter_fields(node)):
            if value in (None, []) and not isinstance(node, ast.Constant | ast.JoinedStr):
                delattr(node, field)  # as a tree may be made from 3.13 on
    assert canonical(with_types) == canonical(without) == text


def test_the_pieces_of_a_string_leave_no_trace():
    whole = ast.parse('f"ab{x:>3}c"', mode="eval").body
    a, x, c = whole.values
    pieces = ast.JoinedStr([ast.Constant("a"), ast.Constant(""), ast.JoinedStr([ast.Constant("b"), x]), c])
    assert canonical(pieces) == canonical(whole)
    assert canonical(ast.JoinedStr([a, c, x])) != canonical(whole)
    nothing = ast.parse('f"{x:}"', mode="eval").body
    nothing.values[0].format_spec = None
    assert canonical(nothing) == canonical(ast.parse('f"{x:}"', mode="eval").body)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("f(None)", "f()"),
        ("f('1')", "f(1)"),
        ("f(1)", "f(1.0)"),
        ("f(1)", "f(True)"),
        ("f(a)(b)", "f(a, b)"),
        ("x[1:]", "x[:1]"),
        ("{**a}", "{a}"),
        ("{**a, b: c}", "{b: c, **a}"),
        ("a - b", "b - a"),
        ('f"{x}"', 'f"{x!r}"'),
        ('f"{x:2}"', 'f"{x:3}"'),
        ('f"{x:2}"', 'f"{x}2"'),
        ("f'{x}y'", "f'y{x}'"),
        ("lambda a, /: 1", "lambda a: 1"),
        ("lambda *, a=None: 1", "lambda *, a: 1"),
        ("'a', 'b'", "'a' 'b'"),
        ("b'a'", "'a'"),
    ],
)
def test_what_means_another_thing_has_another_text(one, other):
    assert canonical(ast.parse(one)) != canonical(ast.parse(other))


# --- what a chapter reaches ------------------------------------------------------------------------------------------

LIBRARY = {  # every piece bears a number of its own
    "__init__.py": "__version__ = 10\n",
    "core.py": (
        '"""Core."""\n\nSIDE = 11\nSIZES = dict(b=12)\nSIZES["a"] = 13\nUNUSED = 14\n\n\n'
        "def checked(f):\n    return f or 15\n"
    ),
    "area.py": (
        "from .core import SIDE, checked\nfrom . import core\n\n\n@checked\ndef area(data):\n"
        '    """Square."""\n    return data.shape, SIDE**16, _helper()\n\n\ndef _helper():\n'
        "    from dgmlib import lazy\n\n    return lazy.late(17), core.SIZES\n\n\ndef unused():\n    return 18\n"
    ),
    "lazy.py": (
        "import torch\n\ntorch.set_num_threads(19)\n\n\ndef late(n):\n    return n + 20\n\n\n"
        "def later():\n    return 21\n"
    ),
    "shapes.py": (
        "from dgmlib import area as plane\n\n\nclass Shape:\n    def sides(self):\n        return 22\n\n\n"
        "class Square(Shape):\n    def area(self, data):\n        return plane.area(data), 23\n\n\ndef make():\n"
        "    return Square()\n\n\nif True:\n    LIMIT = 24\n"
    ),
    "data.py": "def load():\n    return 25\n",
    "bugs/__init__.py": (
        "def subjects():\n    return 26\n\n\ndef wrong(*_):\n    return subjects()\n\n\n"
        "def Subject(name, right, bugs):\n    return 27\n"
    ),
    "bugs/area.py": (
        "from dgmlib.area import area, unused\nfrom dgmlib.bugs import Subject\n\n\n"
        "def _twice(data):\n    return 28\n\n\ndef _thrice(data):\n    return 29\n\n\n"
        "SUBJECTS = (\n    Subject('area', area, (_twice, 30)),\n"
        "    Subject(name='nothing', right=unused, bugs=(_thrice, 31)),\n)\n"
    ),
    "bugs/area.toml": "[area.twice]\nname = '36'\n\n[nothing.thrice]\nname = '37'\n\n[slips.slip]\nname = '32'\n",
    "notebook.py": "from dgmlib import bugs\n\n\ndef diagnose(*_):\n    return 33\n",
    "plots.py": "COLOUR = 34\n",
    "commands/__init__.py": "",
    "commands/area.py": "def main():\n    return 35\n",
}
NUMBERS = range(10, 38)
AREA = {11, 12, 13, 15, 16, 17, 19, 20}
SHAPES = AREA | {22, 23}
BUG = AREA | {27, 28, 30, 36}
CASES = {
    "from dgmlib.area import area\narea(1)": AREA,
    "from dgmlib import area\narea.area(1)": AREA,
    "import dgmlib.area\ndgmlib.area.area(1)": AREA,
    "import dgmlib\n[dgmlib.area.area(1)]": AREA,
    "import dgmlib.area as a\na.area(1)": AREA,
    "from dgmlib.area import *": AREA | {18},
    "from dgmlib import area\nf(area)": AREA | {18},
    "from dgmlib import area, data\ndata = data.load()\nf(data)": {25},
    "def f(data):\n    from dgmlib import data": set(),
    "from dgmlib.area import unused\n# area": set(),
    "from dgmlib.area import unused\nunused": {18},
    "from dgmlib import core\ncore.SIZES": {12, 13},
    "from dgmlib.shapes import make\nmake().area(1)": SHAPES,
    "from dgmlib.shapes import Square": set(),
    "from dgmlib import shapes\nshapes.LIMIT": {24},
    "from dgmlib.bugs import wrong\nwrong('area', 'twice')": BUG | {26},
    "from dgmlib.notebook import diagnose\nfor name in ['area']:\n    diagnose(name, f)": BUG,
    "from dgmlib.bugs.area import _thrice\n_thrice(1)": {29},
    "from dgmlib import bugs\nbugs.subjects()": BUG | {18, 26, 29, 31, 32, 37},
    "from dgmlib import plots\nfrom dgmlib.notebook import diagnose\nfrom dgmlib.commands import area\n"
    "plots.COLOUR, diagnose, area.main()": set(),
}


def write(root: Path, files: dict[str, str]) -> Library:
    for name, text in files.items():
        path = root / "dgmlib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Library(root)


def chapter(*cells: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in ("import dgmlib", *cells)])


@pytest.fixture(scope="module")
def libraries(tmp_path_factory) -> dict[int, Library]:
    """The library as it is, under 0, and with each of its numbers changed."""
    root = tmp_path_factory.mktemp("libraries")
    made = {0: write(root / "as it is", LIBRARY)}
    for number in NUMBERS:
        (name,) = [name for name, text in LIBRARY.items() if str(number) in text]
        made[number] = write(root / str(number), LIBRARY | {name: LIBRARY[name].replace(str(number), "9")})
    return made


@pytest.mark.parametrize("code", CASES, ids=range(len(CASES)))
def test_a_chapter_is_stale_when_what_it_reaches_has_changed_and_only_then(code, libraries):
    found = {number: fingerprint(chapter(code), library) for number, library in libraries.items()}
    assert {number for number in NUMBERS if found[number] != found[0]} == CASES[code]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("core.py", '"""Core."""', '"""The core."""'),
        ("area.py", '"""Square."""', '"""The square."""'),
        ("area.py", "def unused():\n    return 18\n", ""),
        ("area.py", "def unused", "def new(data):\n    return area(data)\n\n\ndef unused"),
        ("area.py", "return data.shape, SIDE**16", "return (data.shape), SIDE ** (16)"),
    ],
)
def test_what_changes_no_result_makes_nothing_stale(name, old, new, tmp_path):
    code = chapter("from dgmlib.area import area\narea(1)")
    before = fingerprint(code, write(tmp_path / "before", LIBRARY))
    assert old in LIBRARY[name]
    after = write(tmp_path / "after", LIBRARY | {name: LIBRARY[name].replace(old, new)})
    assert fingerprint(code, after) == before


def test_the_chapters_own_code_counts_but_for_the_cell_that_all_share(tmp_path):
    library = write(tmp_path, LIBRARY)
    one, other = chapter("1", "%timeit 2"), chapter("1", "%timeit 3")
    assert fingerprint(one, library) != fingerprint(other, library)
    other.cells[2].source = "%timeit 2"
    other.cells[0].source = "import dgmlib  # from another address"
    assert fingerprint(one, library) == fingerprint(other, library)


def test_a_helper_added_to_a_module_touches_no_chapter_and_a_changed_kl_those_that_use_it(tmp_path):
    """On the real library and three real chapters, of which one uses neither VAEs nor Gaussian KLs."""
    chapters = {
        path.name[:2]: nbformat.read(path, as_version=4)
        for number in ("02", "09", "10")
        for path in (ROOT / "chapters").glob(f"{number}_*.ipynb")
    }

    def with_vae(folder: str, edit) -> dict[str, str]:
        shutil.copytree(
            ROOT / "dgmlib", tmp_path / folder / "dgmlib", ignore=shutil.ignore_patterns("weights", "__py*")
        )
        path = tmp_path / folder / "dgmlib" / "vae.py"
        path.write_text(edit(path.read_text(encoding="utf-8")), encoding="utf-8")
        library = Library(tmp_path / folder)
        return {number: fingerprint(notebook, library) for number, notebook in chapters.items()}

    now = with_vae("now", lambda text: text)
    assert with_vae("helper", lambda text: text + "\n\ndef helper(mean, log_var):\n    return elbo(mean)\n") == now
    changed = with_vae(
        "changed", lambda text: text.replace("def kl_standard_normal(", "def kl_standard_normal(x=0, *, ")
    )
    assert {number for number in chapters if changed[number] != now[number]} == {"09", "10"}
