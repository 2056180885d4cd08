"""Random faults in `dgmlib` that the unit tests must notice: `make mutants SEED=…`.

A mutant is one small edit drawn by the seed: an operator, a comparison, a constant, two swapped arguments, a negated
result, a deleted step. Each runs in a copy of the tree against `test_<module>.py`, then the other unit tests that
import the module, up to the first failure; a hang is a kill. A parent that has already imported PyTorch forks one child
per mutant, so that a mutant costs its tests and not the imports. Survivors no test can see stand, with the reason, in
`equivalent_mutants.csv`; they leave the count. Exit status 0 means that at least 90 % of the others were killed.
"""

import argparse
import ast
import copy
import csv
import importlib
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REQUIRED = 0.9
PRELOADED = ("numpy", "scipy.stats", "sklearn.datasets", "matplotlib.pyplot", "torch", "jaxtyping")
UNUSED_PLUGINS = [f"-pno:{name}" for name in ("cacheprovider", "nbval", "xdist", "anyio")]  # nbval imports for seconds
NOT_MUTATED = {"bugs", "plots"}  # wrong on purpose; judged by eye
NOT_UNIT_TESTS = tuple(  # they judge the book, the machine or the commands, some of which a copy lacks
    f"test_{name}"
    for name in """book browser build claims controls freshness machine mutants noise repo run sensitivity
    versions""".split()
)
NOT_COPIED = shutil.ignore_patterns(".*", "_build", "__pycache__", "chapters", "*.egg-info", "runs")

ARITHMETIC = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
              ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv}  # fmt: skip
COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}  # fmt: skip
DROPPED_METHODS = {"abs", "detach", "exp", "log", "log1p", "sqrt", "square"}
NUMBERS = ("Tensor", "Float", "float", "Value")


@dataclass(frozen=True)
class Mutant:
    """One edit: `source` is the whole mutated module."""

    module: str
    line: int
    kind: str
    source: str
    before: str
    after: str


Site = tuple[ast.AST, list[tuple[str, ast.AST]]]  # a node, and (kind, what replaces it) for each way to get it wrong

# --- drawing --------------------------------------------------------------------------------------------------------


def _edited(node: ast.AST, **fields: object) -> ast.AST:
    twin = copy.copy(node)
    for name, value in fields.items():
        setattr(twin, name, value)
    return twin


def _expression_edits(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """The ways to get this one expression wrong."""
    match node:
        case ast.BinOp(op=op) if type(op) in ARITHMETIC:
            yield "operator", _edited(node, op=ARITHMETIC[type(op)]())
        case ast.Compare(ops=[op]):
            for other in COMPARISONS[type(op)]:
                yield "comparison", _edited(node, ops=[other()])
        case ast.BoolOp(op=op):
            yield "operator", _edited(node, op=ast.Or() if isinstance(op, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.USub() | ast.Not(), operand=operand):
            yield "operator", operand
        case ast.Constant(value=bool() as value):
            yield "constant", ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            for other in dict.fromkeys((value + 1, value - 1, value * 2)):
                if other != value:
                    yield "constant", ast.Constant(other)
        case ast.Call(func=func, args=args):
            fixed = any(isinstance(a, ast.Starred) or isinstance(getattr(a, "value", None), str) for a in args[:2])
            if len(args) >= 2 and not fixed:
                yield "argument swap", _edited(node, args=[args[1], args[0], *args[2:]])
            if isinstance(func, ast.Attribute) and func.attr in DROPPED_METHODS and not args:
                yield "deletion", func.value


def _is_quiet(node: ast.AST) -> bool:
    """Whether nothing below this node is behaviour a unit test should pin: messages, annotations, command lines."""
    match node:
        case ast.Raise() | ast.JoinedStr() | ast.AnnAssign(value=None) | ast.Import() | ast.ImportFrom() | ast.alias():
            return True
        case ast.FunctionDef(name="main" | "__repr__" | "extra_repr"):
            return True
        case ast.Call(func=ast.Name(id="print") | ast.Attribute(attr="warn")):
            return True
        case ast.If(test=ast.Compare(left=ast.Name(id="__name__"))):
            return True
    return False


def _children(node: ast.AST) -> Iterator[ast.AST]:
    for name, value in ast.iter_fields(node):
        if name not in {"annotation", "returns", "decorator_list", "type_params"}:
            yield from (item for item in (value if isinstance(value, list) else [value]) if isinstance(item, ast.AST))


def _sites(node: ast.AST, known: frozenset[str] = frozenset(), numeric: bool = False) -> Iterator[Site]:
    """Every place below `node` that can be got wrong.

    `known` are the enclosing function's argument names, whose re-binding can be deleted without a NameError;
    `numeric` says that the function returns a number or a tensor, whose sign can be turned.
    """
    if _is_quiet(node):
        return
    if isinstance(node, ast.FunctionDef):
        known = frozenset(argument.arg for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs])
        numeric = node.returns is not None and ast.unparse(node.returns).startswith(NUMBERS)
    match node:
        case ast.Expr(value=ast.Constant()):
            return
        case ast.Expr() | ast.AugAssign() | ast.If(body=[ast.Raise()], orelse=[]):
            yield node, [("deletion", ast.Pass())]
        case ast.Assign(targets=[ast.Name(id=name)]) if name in known:
            yield node, [("deletion", ast.Pass())]
        case ast.Return(value=ast.AST() as value) if numeric:
            yield value, [("negated result", ast.UnaryOp(ast.USub(), value))]
    if isinstance(node, ast.expr) and (edits := list(_expression_edits(node))):
        yield node, edits
    for child in _children(node):
        yield from _sites(child, known, numeric)


def _splice(source: str, node: ast.AST, replacement: ast.AST) -> str:
    """`source` with the text of `node` replaced; every other character, and so every other line, stays."""
    lines = source.encode().splitlines(keepends=True)
    start = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
    end = sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset
    text = ast.unparse(ast.fix_missing_locations(replacement))
    if isinstance(replacement, ast.expr) and not isinstance(replacement, ast.Constant | ast.Name | ast.Call):
        text = f"({text})"
    text += "\n" * (node.end_lineno - node.lineno) if isinstance(replacement, ast.Pass) else ""
    raw = source.encode()
    return (raw[:start] + text.encode() + raw[end:]).decode()


def _mutant(module: str, source: str, site: Site, rng: random.Random) -> Mutant | None:
    """One of the ways to get the site wrong, or None if what comes out is the same program or no program at all."""
    node, edits = site
    kind, replacement = rng.choice(edits)
    mutated = _splice(source, node, replacement)
    try:
        if ast.dump(ast.parse(mutated)) == ast.dump(ast.parse(source)):
            return None
    except SyntaxError:
        return None
    before, after = source.splitlines(), mutated.splitlines()
    row = next(i for i, line in enumerate(before) if line != after[i])
    return Mutant(module, row + 1, kind, mutated, before[row].strip(), after[row].strip())


def modules_of(root: Path, package: str) -> dict[str, Path]:
    """Dotted module name within the package -> file, without those whose faults no unit test should chase."""
    paths = sorted((root / package).rglob("*.py"))
    names = {".".join(path.relative_to(root / package).with_suffix("").parts): path for path in paths}
    return {name: path for name, path in names.items() if name.split(".")[0] not in NOT_MUTATED}


def draw(root: Path, package: str, seed: int, n: int, only: list[str]) -> list[Mutant]:
    """`n` mutants, each place in the code equally likely; the same ones for the same seed and source."""
    sources = {name: path.read_text(encoding="utf-8") for name, path in modules_of(root, package).items()}
    places = [(name, site) for name in sources if not only or name in only for site in _sites(ast.parse(sources[name]))]
    rng = random.Random(seed)
    rng.shuffle(places)
    drawn = (_mutant(name, sources[name], site, rng) for name, site in places)
    return list(itertools.islice(filter(None, drawn), n))


# --- running --------------------------------------------------------------------------------------------------------


def tests_of(root: Path, package: str, module: str) -> list[str]:
    """The unit tests for a module: its own file first, then the others that import it; all of them if none does."""
    files = [path for path in sorted((root / "tests").glob("test_*.py")) if not path.stem.startswith(NOT_UNIT_TESTS)]
    own = [path for path in files if path.stem == f"test_{module.replace('.', '_')}"]
    imports = (f"from {package}.{module} import", f"import {package}.{module}", f"from {package} import {module}")
    users = [path for path in files if path not in own and any(text in path.read_text() for text in imports)]
    return [f"tests/{path.name}" for path in (own + users or files)]


@dataclass
class Run:
    """The tests of a module, with one mutant or none: what to run, where and since when, and the outcome."""

    module: str
    tests: list[str]
    limit: float
    mutant: Mutant | None = None
    tree: Path = Path()
    pid: int = 0
    began: float = 0.0
    original: str = ""
    verdict: str = ""
    seconds: float = 0.0


def fork_tests(tree: Path, package: str, tests: list[str]) -> int:
    """Fork a process that runs `tests` in `tree` up to the first failure; its exit status is 0 if all passed there."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    status = 1
    try:
        os.setsid()
        log = os.open(tree / "mutant.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(tree)
        os.environ["PYTHONPATH"] = sys.path[0] = str(tree)
        status = int(pytest.main(["-x", "-q", f"--basetemp={tree.parent / 'tmp'}", *UNUSED_PLUGINS, *tests]))
        tested = Path(importlib.import_module(package).__file__)
        if tree not in tested.parents:
            print(f"the tests imported {tested}, expected the copy in {tree}")
            status = 1
    finally:
        sys.stdout.flush()
        os._exit(status)


def start(run: Run, tree: Path, package: str) -> None:
    target = modules_of(tree, package)[run.module]
    run.tree, run.original = tree, target.read_text(encoding="utf-8")
    if run.mutant:
        target.write_text(run.mutant.source, encoding="utf-8")
    run.began = time.monotonic()
    run.pid = fork_tests(tree, package, run.tests)


def has_ended(run: Run, package: str) -> bool:
    """Whether the run is over, and its tree as it was; one past its limit is killed with all it started."""
    pid, status = os.waitpid(run.pid, os.WNOHANG)
    run.seconds = time.monotonic() - run.began
    if not pid and run.seconds < run.limit:
        return False
    if not pid:
        os.killpg(run.pid, signal.SIGKILL)
        os.waitpid(run.pid, 0)
    run.verdict = "hung" if not pid else "killed" if status else "survived"
    modules_of(run.tree, package)[run.module].write_text(run.original, encoding="utf-8")
    return True


def side_by_side(runs: list[Run], trees: list[Path], package: str) -> Iterator[Run]:
    """Carry out the runs, one at a time in each tree; each as it ends."""
    waiting, free, running = runs[::-1], list(trees), []
    try:
        while waiting or running:
            while waiting and free:
                running.append(waiting.pop())
                start(running[-1], free.pop(), package)
            for run in [run for run in running if has_ended(run, package)]:
                running.remove(run)
                free.append(run.tree)
                yield run
            time.sleep(0.02)
    finally:
        for run in running:
            os.killpg(run.pid, signal.SIGKILL)


def survivors(package: str, mutants: list[Mutant], trees: list[Path], least_limit: float) -> list[Mutant]:
    """The mutants no test noticed. Exits if a module's tests fail without a mutant, which also tells what a hang is."""
    modules = sorted({mutant.module for mutant in mutants})
    tests = {module: tests_of(trees[0], package, module) for module in modules}
    limits = {}
    for run in side_by_side([Run(module, tests[module], 900) for module in modules], trees, package):
        if run.verdict != "survived":
            print((run.tree / "mutant.log").read_text()[-3000:])
            sys.exit(f"without a mutant these fail: {' '.join(run.tests)}")
        limits[run.module] = max(least_limit, 4 * run.seconds)
        print(f"  {run.module}: {len(run.tests)} test files, {run.seconds:.1f} s without a mutant", flush=True)
    alive = []
    runs = [Run(mutant.module, tests[mutant.module], limits[mutant.module], mutant) for mutant in mutants]
    for run in side_by_side(runs, trees, package):
        mutant = run.mutant
        print(f"  {run.verdict:9} {mutant.module}:{mutant.line} {mutant.kind}, {run.seconds:.1f} s", flush=True)
        if run.verdict == "survived":
            alive.append(mutant)
    return alive


def known_equivalents(root: Path) -> set[tuple[str, str, str]]:
    """(module, original line, mutated line) of the mutants that are explained as equivalent."""
    path = root / "tests" / "equivalent_mutants.csv"
    if not path.exists():
        return set()
    with path.open(newline="", encoding="utf-8") as file:
        return {(row["module"], row["original"], row["mutated"]) for row in csv.DictReader(file)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--n", type=int, default=60, help="how many mutants (60)")
    parser.add_argument("--modules", nargs="*", default=[], help="draw from these modules only")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time (2)")
    parser.add_argument("--package", default="dgmlib")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--least-limit", type=float, default=30.0, help="seconds before a run can count as hung (30)")
    args = parser.parse_args()

    sys.dont_write_bytecode = True  # two mutants of one second and one length would share their byte code
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    if "DGMLIB_DATA" in os.environ:
        os.environ["DGMLIB_DATA"] = str(Path(os.environ["DGMLIB_DATA"]).resolve())

    with tempfile.TemporaryDirectory() as folder:
        trees = [Path(folder).resolve() / str(i) / "tree" for i in range(args.jobs)]
        for tree in trees:
            shutil.copytree(args.root, tree, ignore=NOT_COPIED)
        mutants = draw(trees[0], args.package, args.seed, args.n, args.modules)
        if not mutants:
            sys.exit(f"nothing to mutate in {args.root / args.package}")
        modules = {mutant.module for mutant in mutants}
        print(f"seed {args.seed}: {len(mutants)} mutants of {len(modules)} modules, {args.jobs} at a time")
        used = "".join(path.read_text(encoding="utf-8") for path in modules_of(trees[0], args.package).values())
        for name in PRELOADED:
            if f"import {name.split('.')[0]}" in used or f"from {name.split('.')[0]}" in used:
                importlib.import_module(name)
        alive = survivors(args.package, mutants, trees, args.least_limit)
        equivalent = known_equivalents(trees[0])

    explained = [mutant for mutant in alive if (mutant.module, mutant.before, mutant.after) in equivalent]
    unexplained = [mutant for mutant in alive if mutant not in explained]
    for mutant in unexplained:
        print(f"\nsurvived: {args.package}/{mutant.module.replace('.', '/')}.py:{mutant.line} ({mutant.kind})")
        print(f"  - {mutant.before}\n  + {mutant.after}")
    counted = len(mutants) - len(explained)
    killed = counted - len(unexplained)
    share = killed / counted if counted else 1.0
    print(f"\nseed {args.seed}: killed {killed} of {counted} ({share:.1%}); {len(explained)} equivalent, as listed")
    return 0 if share >= REQUIRED else 1


if __name__ == "__main__":
    sys.exit(main())
