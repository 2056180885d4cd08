"""The floors of pyproject.toml and the interpreters beyond the locked one; `make versions` runs all tests with them."""

import ast
import json
import re

import pytest
import versions
from versions import NEWER, ROOT, WARNING, oldest, pins

SOURCES = sorted(
    path for folder in ("dgmlib", "book", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")
) + sorted((ROOT / "chapters").glob("*.ipynb"))
SOURCES = [
    path for path in SOURCES if not any(part.startswith((".", "_build")) for part in path.relative_to(ROOT).parts)
]


def code(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return text
    cells = [cell["source"] for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    lines = "\n".join("".join(cell) for cell in cells).split("\n")
    return "\n".join("pass" if line.startswith(("%", "!")) else line for line in lines)


def dotted(source):
    """Every name `module.part` that the code imports or reads, under the module's own name."""
    tree, alias, found = ast.parse(source), {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            alias |= {
                name.asname or name.name.split(".")[0]: name.name if name.asname else name.name.split(".")[0]
                for name in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            alias |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}
            found |= {f"{node.module}.{name.name}" for name in node.names}
    for node in ast.walk(tree):
        parts = []
        while isinstance(node, ast.Attribute):
            parts, node = [node.attr, *parts], node.value
        if isinstance(node, ast.Name) and node.id in alias:
            found |= {".".join([alias[node.id], *parts[: n + 1]]) for n in range(len(parts))}
    return found


def named(table):
    return {f"{module}.{name}" for module, names in table.items() for name in names.split()}


def test_the_search_sees_each_spelling():
    source = (
        "import numpy as np, torch, scipy.stats\nfrom torch.nn import functional as F\nfrom torch.func import jvp\n"
    )
    source += "np.trapezoid(1)\nF.grouped_mm\ntorch.func.hessian(f)(x)\nscipy.stats.Normal().mean()\nx.trapezoid\n"
    wanted = {"numpy.trapezoid", "torch.nn.functional.grouped_mm", "torch.func.jvp", "scipy.stats.Normal"}
    assert dotted(source) & named(NEWER | {"torch.func": "jvp"}) == wanted
    assert "torch.func.hessian" in dotted(source)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_name_is_newer_than_the_floors(path):
    assert not dotted(code(path)) & named(NEWER)


@pytest.mark.parametrize(
    "path",
    [p for p in SOURCES if p.parent.name in ("dgmlib", "bugs", "commands", "chapters")],
    ids=lambda path: path.name,
)
def test_nothing_calls_what_warns_of_itself(path):
    assert not dotted(code(path)) & named(WARNING)


def test_every_dependency_has_a_floor_that_the_lock_and_colab_meet():
    def number(version):
        return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])

    floors = {name.lower().replace("_", "-"): number(version) for name, version in oldest().items()}
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for which, text in (("lock", lock), ("colab", versions.COLAB)):
        pinned = {n.lower().replace("_", "-"): number(v) for n, v in re.findall(r"([\w.-]+)==([\w.+]+)", text)}
        assert {name for name in floors if name in pinned and pinned[name] < floors[name]} == set(), which
    assert "torch==2.6" in pins("oldest") and "scikit-learn==1.4" in pins("oldest")
