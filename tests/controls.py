"""Read the chapters' checks and name the controls that prove nothing. Read from text; nothing is run."""

import ast
import builtins
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from course import CHECKS, Chapter, without_magics

from dgmlib import bugs

# Library functions that only make what a formula is applied to: data, states, laws, generators.
INGREDIENTS = {"bit_states", "setup", "wrong", "check", "need_subject", "load", "Batches"}
SHAPES = {"zeros_like", "ones_like", "full_like", "zeros", "ones", "full", "empty_like"}
NOTHING = "nothing to reject"  # a comment that begins so says why an equation has no wrong form


Spot = tuple[int, float]  # a cell and a line in it


@dataclass(frozen=True)
class Hollow:
    """One control that proves nothing: its kind, and where it stands."""

    kind: str
    chapter: str
    cell: int
    name: str  # of the check, or the label of an equation
    id: str = ""  # of the wrong form

    def __str__(self) -> str:
        return f"{self.chapter}[{self.cell}] {self.name}: {self.id + ' ' if self.id else ''}{self.kind}"


@dataclass(frozen=True)
class Called:
    """One call of `check`, with the place that the names in it are looked up from."""

    call: ast.Call
    cell: int

    @property
    def kind(self) -> str:
        return self.call.func.attr

    @property
    def name(self) -> str:
        text = self.call.args[0]
        return "".join(
            part.value if isinstance(part, ast.Constant) else "{}"
            for part in (text.values if isinstance(text, ast.JoinedStr) else [text])
        )

    @property
    def at(self) -> Spot:
        return self.cell, self.call.lineno

    @property
    def sides(self) -> list[ast.expr]:
        if self.kind == "chain" and isinstance(self.call.args[1], ast.List):
            return self.call.args[1].elts
        return self.call.args[1:3]

    @property
    def wrong(self) -> ast.expr | None:
        return next((keyword.value for keyword in self.call.keywords if keyword.arg == "wrong"), None)


class Reading:
    """One page's code: what each name was last given before a place, and its checks.

    A companion checks its chapter's equations too, and the other way round: `family` are the pages that go together.
    """

    def __init__(self, chapter: Chapter, family: Sequence[Chapter] = ()):
        self.chapter = chapter.number
        equations = {label: None for page in family for label in page.equations} | chapter.equations
        self.homes = {label: place for label, place in equations.items() if label.startswith("eq-")}
        self.code = {number: without_magics(code) for number, code in chapter.code}
        self.given: dict[str, list[tuple[Spot, ast.AST, bool]]] = {}  # place, value, does it replace?
        self.imported: dict[str, str] = {}
        self.calls: list[Called] = []
        for number, code in self.code.items():
            tree = ast.parse(code)
            self._names(tree, number)
            self.calls += [Called(node, number) for node in ast.walk(tree) if _is_check(node)]

    def _names(self, tree: ast.AST, cell: int) -> None:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self.imported[alias.asname or alias.name.split(".")[0]] = alias.name
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    self.imported[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                self._give(ast.Name(node.name), node, cell, node.end_lineno)
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    self._give(target, node.value, cell, node.end_lineno)
            elif isinstance(node, ast.AugAssign):
                self._give(node.target, node.value, cell, node.end_lineno, replaces=False)
            elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value:
                self._give(node.target, node.value, cell, node.end_lineno)
            elif isinstance(node, ast.For):
                self._give(node.target, node.iter, cell, node.lineno)
            elif isinstance(node, ast.With):  # what is made under a patch is made by what is patched in
                for item in node.items:
                    for part in _parts(node.body, ast.Assign):
                        for target in part.targets:
                            self._give(target, item.context_expr, cell, part.end_lineno + 0.5, replaces=False)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if node.func.attr in ("append", "extend", "update", "add_") and node.args:
                    self._give(node.func.value, node.args[0], cell, node.end_lineno, replaces=False)

    def _give(self, target: ast.AST, value: ast.AST, cell: int, line: float, replaces: bool = True) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            same = isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts)
            for i, part in enumerate(target.elts):
                self._give(part, value.elts[i] if same else value, cell, line, replaces)
        elif isinstance(target, ast.Starred):
            self._give(target.value, value, cell, line, replaces)
        elif isinstance(target, ast.Subscript | ast.Attribute):
            self._give(target.value, value, cell, line, replaces=False)
        elif isinstance(target, ast.Name):
            self.given.setdefault(target.id, []).append(((cell, line), value, replaces))

    def values(self, name: str, at: Spot) -> list[ast.AST]:
        """What `name` holds just before a place: its last assignment, and what was put into that since."""
        return [value for _, value in self._placed(name, at)]

    def _placed(self, name: str, at: Spot) -> list[tuple[Spot, ast.AST]]:
        found: list[tuple[Spot, ast.AST]] = []
        for place, value, replaces in sorted(self.given.get(name, []), key=lambda entry: entry[0]):
            if place < at:
                found = [(place, value)] if replaces else [*found, (place, value)]
        return found

    def closure(
        self, node: ast.AST, at: Spot, stop: frozenset[str] = frozenset(), but: frozenset[int] = frozenset()
    ) -> "Closure":
        """Every piece of code that the value of `node` comes from: names are followed but for those in `stop`, and not
        into the pieces `but`.

        What a name was given is read where it was given, a function's body where it is called.
        """
        pieces, names, todo, seen = [], set(), [(node, at)], set(but)
        while todo:
            piece, here = todo.pop()
            pieces.append(piece)
            for name in free(piece) - stop:
                names.add(name)
                for place, value in self._placed(name, here):
                    if id(value) not in seen:
                        seen.add(id(value))
                        todo.append((value, here if _is_code(value) else place))
        return Closure(pieces, names)

    # --- what a control can be wrong in -----------------------------------------------------------------------------

    @cached_property
    def hollow(self) -> list[Hollow]:
        return [*self._forms(), *self._sides(), *self._without()]

    def _forms(self) -> Iterator[Hollow]:
        for called in self.calls:
            for id, value in self.forms(called.wrong, called.at):
                for kind in self._kinds(called, id, value):
                    yield Hollow(kind, self.chapter, called.cell, called.name, id)

    def forms(self, wrong: ast.expr | None, at: Spot) -> Iterator[tuple[str, ast.expr]]:
        """The id and the value of each wrong form, where the text tells; a comprehension counts once for each id."""
        if isinstance(wrong, ast.Dict):
            for key, value in zip(wrong.keys, wrong.values, strict=True):
                if key is None:
                    yield from self.forms(value, at)
                else:
                    yield from ((id, value) for id in self._strings(key, at))
        elif isinstance(wrong, ast.DictComp):
            sources = [wrong.key, *(loop.iter for loop in wrong.generators)]
            ids = dict.fromkeys(id for part in sources for id in self._strings(part, at))
            yield from ((id, wrong) for id in ids)
        elif isinstance(wrong, ast.IfExp):
            yield from self.forms(wrong.body, at)
            yield from self.forms(wrong.orelse, at)
        elif isinstance(wrong, ast.BinOp) and isinstance(wrong.op, ast.BitOr):
            yield from self.forms(wrong.left, at)
            yield from self.forms(wrong.right, at)
        elif isinstance(wrong, ast.Name):
            for value in self.values(wrong.id, at):
                yield from self.forms(value, at)

    def _strings(self, node: ast.AST, at: Spot) -> list[str]:
        """The ids that an expression can be: a literal, a name for literals, a key of a table of them."""
        found = [
            part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)
        ]
        for name in free(node) if not found else ():
            for value in self.values(name, at):
                found += self._strings(value, at)
        return [text for text in found if is_id(text)]

    def _kinds(self, called: Called, id: str, value: ast.expr) -> Iterator[str]:
        pieces = self.closure(value, called.at).pieces
        if id in museum() and not any(_calls_bug(piece, id) for piece in pieces):
            yield "does not call the museum's function"
        sides, telling = called.sides, [value]
        if called.kind == "at_most" and isinstance(value, ast.Tuple):
            if [same(a) for a in value.elts] == [same(a) for a in reversed(sides)]:
                yield "has its sides merely swapped"
                return
            telling = [part for part, side in zip(value.elts, sides, strict=True) if same(part) != same(side)]
        if any(part.attr in ("nan", "inf") for part in _parts(telling, ast.Attribute)) or any(
            str(part.value).lower() in ("nan", "inf", "-inf") for part in _parts(telling, ast.Constant)
        ):
            yield "is NaN or infinite"
        elif all(self._typed(part, called.at, self._inputs(called)) for part in telling):
            yield "is a typed constant"
        elif all(self._fudged(part, sides, called.at) for part in telling):
            yield "is made from the right side"

    def _inputs(self, called: Called) -> set[str]:
        """The names that the sides of a check are computed from."""
        return set().union(*(self.closure(side, called.at).names for side in called.sides))

    def _typed(self, value: ast.AST, at: Spot, inputs: set[str]) -> bool:
        """Does the value depend on nothing but numbers that were typed? An input taken for the answer does."""
        if isinstance(value, ast.Name) and value.id not in inputs and len(given := self.values(value.id, at)) == 1:
            return isinstance(given[0], ast.expr) and self._typed(given[0], at, inputs)
        core = Shapeless().visit(ast.parse(ast.unparse(value), mode="eval"))
        if any(self._computes(node) for node in _parts([core], ast.Call)):
            return False
        return not free(core) - self.imported.keys()

    def _computes(self, call: ast.Call) -> bool:
        """Does it run a formula: one of the library's, of the museum's, or of SciPy's?"""
        root = call.func
        while isinstance(root, ast.Attribute):
            root = root.value
        return isinstance(root, ast.Name) and self.imported.get(root.id, "").startswith(("dgmlib", "scipy"))

    def _fudged(self, value: ast.AST, sides: list[ast.expr], at: Spot) -> bool:
        """Is the value one of the sides with something typed done to it?"""
        given = self.values(value.id, at) if isinstance(value, ast.Name) else []
        if len(given) == 1 and isinstance(given[0], ast.expr):
            value = given[0]
        texts = {same(side) for side in sides if not isinstance(side, ast.Constant)}
        core = Shapeless(texts).visit(ast.parse(ast.unparse(value), mode="eval"))
        names = {node.id for node in ast.walk(core) if isinstance(node, ast.Name)}
        return Shapeless.SIDE in names and not free(core) - self.imported.keys() - {Shapeless.SIDE}

    def _sides(self) -> Iterator[Hollow]:
        for called in self.calls:
            if called.kind not in ("equal", "chain") or len(called.sides) < 2:
                continue
            for left, right in zip(called.sides, called.sides[1:], strict=False):
                if same(left) == same(right):
                    yield Hollow("compares an expression with itself", self.chapter, called.cell, called.name)
                elif both := sorted(self.both_reach(left, right, called.at)):
                    kind = f"reaches {' and '.join(both)} on both sides"
                    yield Hollow(kind, self.chapter, called.cell, called.name)

    def both_reach(self, left: ast.expr, right: ast.expr, at: Spot) -> set[str]:
        """The library functions that both sides call, what both take from a name they share left out."""
        shared = frozenset(self.closure(left, at).names & self.closure(right, at).names)
        shared -= {name for name in shared if any(_is_code(value) for value in self.values(name, at))}
        pieces = [self.closure(side, at, shared).pieces for side in (left, right)]
        common = {id(piece) for piece in pieces[0] if not _is_code(piece)} & {id(piece) for piece in pieces[1]}
        found = []
        for side in (left, right):
            calls = _parts(self.closure(side, at, shared, frozenset(common)).pieces, ast.Call)
            found.append({name for call in calls if (name := self.function_called(call) or self.method(call, at))})
        return found[0] & found[1]

    def function_called(self, call: ast.AST) -> str:
        """The name of the library's function that is called, "" for any other."""
        path: list[str] = []
        node = call.func
        while isinstance(node, ast.Attribute):
            path.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or not self.imported.get(node.id, "").startswith("dgmlib"):
            return ""
        name = ".".join([self.imported[node.id].removeprefix("dgmlib."), *reversed(path)])
        last = name.rsplit(".", 1)[-1]
        return "" if last in INGREDIENTS or last[0].isupper() or name.startswith(("data.", "bugs.")) else name

    def method(self, call: ast.Call, at: Spot) -> str:
        """ "Class.method" for a method of an object that one of the library's classes or functions made."""
        if not isinstance(call.func, ast.Attribute) or not isinstance(call.func.value, ast.Name):
            return ""
        for value in self.values(call.func.value.id, at):
            if isinstance(value, ast.Call) and isinstance(value.func, ast.Name | ast.Attribute):
                root = value.func
                while isinstance(root, ast.Attribute):
                    root = root.value
                made = _ends(value.func)
                if isinstance(root, ast.Name) and self.imported.get(root.id, "").startswith("dgmlib"):
                    return f"{made}.{call.func.attr}" if made[0].isupper() else ""
        return ""

    def _without(self) -> Iterator[Hollow]:
        for label, place in self.homes.items():
            calls = [called for called in self.calls if called.name.split()[0].rstrip(",:") == label]
            said = any(NOTHING in self.code[called.cell].lower() for called in calls)
            if calls and not said and not any(called.wrong for called in calls):
                yield Hollow("has no wrong form, and no word why", self.chapter, (place or calls[0]).cell, label)


@dataclass(frozen=True)
class Closure:
    pieces: list[ast.AST]
    names: set[str]


class Shapeless(ast.NodeTransformer):
    """Takes out of an expression what only sets its shape, and puts a mark where one of `sides` stands."""

    SIDE = "a_side_of_the_check"

    def __init__(self, sides: set[str] = frozenset()):
        self.sides = sides

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.expr) and same(node) in self.sides:
            return ast.Name(self.SIDE, ast.Load())
        return super().visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if _ends(node.func) in SHAPES:
            kept = node.args[1:] if _ends(node.func) in ("full_like", "full") else []
            return ast.Tuple([self.visit(part) for part in kept], ast.Load())
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("expand", "expand_as", "view", "reshape"):
            return self.visit(node.func.value)
        return self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        zero = [isinstance(part, ast.Constant) and part.value == 0 for part in (node.left, node.right)]
        return ast.Constant(0) if isinstance(node.op, ast.Mult) and any(zero) else self.generic_visit(node)


def free(node: ast.AST) -> set[str]:
    """The names that a piece of code takes from outside."""
    bound = set(dir(builtins))
    for part in ast.walk(node):
        if isinstance(part, ast.arg):
            bound.add(part.arg)
        elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            bound.add(part.id)
    loaded = {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)}
    return loaded - bound


def same(node: ast.AST) -> str:
    """Equal for expressions that differ in layout alone."""
    return ast.unparse(node)


@cache
def museum() -> set[str]:
    return {bug.id for subject in bugs.subjects().values() for bug in subject.bugs}


def is_id(text: str) -> bool:
    """Does the text name a wrong form: an erratum, a bug of the museum, a slip?"""
    return bool(re.fullmatch(r"E\d-\d+\w?", text)) or text in museum() or text in bugs.slips()


def _is_check(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in CHECKS
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "check"
        and len(node.args) > 1
    )


def _is_code(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef)


def _parts(nodes: list[ast.AST], kind: type) -> Iterator[ast.AST]:
    return (part for node in nodes for part in ast.walk(node) if isinstance(part, kind))


def _ends(function: ast.AST) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _calls_bug(piece: ast.AST, id: str) -> bool:
    """Does the code call the museum's `wrong` for this id, or for one that the text does not tell?"""
    calls = [call for call in _parts([piece], ast.Call) if _ends(call.func) == "wrong" and len(call.args) == 2]
    return any(not isinstance(call.args[1], ast.Constant) or call.args[1].value == id for call in calls)
