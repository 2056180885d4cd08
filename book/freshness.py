"""What a chapter's outputs were made with: a hash of its code and of all that this code reaches in dgmlib, by name.

Reached are functions, classes with all their methods, and constants, each through the names it uses, so a helper that
no chapter calls makes nothing stale. Names are followed without running anything, hence generously: a local variable
that bears a function's name reaches the function.
"""

import ast
import hashlib
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from course import without_magics
from nbformat import NotebookNode

UNHASHED = {"dgmlib", "dgmlib.commands", "dgmlib.plots"}  # version; how a result is measured and drawn
UNHASHED |= {f"dgmlib.{name}" for name in ("notebook", "checking", "interactive")}  # how it is told
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
OWN_SCOPE = ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
WHOLE, EFFECTS = "*", ""  # all of a module; its statements that bind no name


def fingerprint(notebook: NotebookNode, library: "Library") -> str:
    """Hash of the chapter's code and of what it reaches, docstrings left out; the same under every Python.

    The first code cell is the same everywhere and changes only with the repository's address: left out as well.
    """
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"][1:]
    digest = hashlib.sha256("\0".join(cells).encode())
    for item in sorted(library.reached(ast.parse("\n".join(map(without_magics, cells))))):
        digest.update("\0".join(("", *item, library.text(*item))).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


# --- a syntax tree as text -------------------------------------------------------------------------------------------


def canonical(node: object) -> str:
    """A syntax tree as text in which no two Pythons differ, as they do in `ast.dump`.

    Fields that are empty are left out: some versions have them, some do not. Neither is it told whether a literal part
    of an f-string stands in one piece, or how a string would be escaped, which depends on the version of Unicode.
    """
    match node:
        case ast.JoinedStr():
            return f"JoinedStr[{','.join(_pieces(node))}]"
        case ast.Constant(value=str() as text):
            return f"str{len(text)}:{text}"
        case ast.Constant(value=value):
            return f"{type(value).__name__}:{value!r}"
        case ast.AST():
            fields = [f"{name}={told}" for name, value in ast.iter_fields(node) if (told := canonical(value))]
            return f"{type(node).__name__}({','.join(fields)})"
        case []:
            return ""
        case list():
            return f"[{','.join(map(canonical, node))}]"
        case None:
            return ""
        case _:
            return str(node)


def _pieces(string: ast.JoinedStr) -> Iterator[str]:
    literal = ""
    for part in [*_flat(string), None]:
        if isinstance(part, ast.Constant):
            literal += part.value
            continue
        if literal:
            yield canonical(ast.Constant(literal))
            literal = ""
        if part is not None:
            spec = "" if part.format_spec is None else ",".join(_pieces(part.format_spec))
            yield f"{canonical(part.value)}!{part.conversion}:{spec}"


def _flat(string: ast.JoinedStr) -> Iterator[ast.expr]:
    for part in string.values:
        if isinstance(part, ast.JoinedStr):
            yield from _flat(part)
        else:
            yield part


def without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and node.body and _is_text(node.body[0]):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


# --- what it reaches -------------------------------------------------------------------------------------------------


@dataclass
class Module:
    """A module's statements by the names they bind, and what its imports stand for.

    Attributes:
        definitions: name to the statements that bind it; under `EFFECTS` those that bind none.
        imports: name to (module, member of it or None), wherever in the module the import stands.
        subjects: name of a subject of the museum to the definition that holds its entry alone, with what is told of it.
    """

    name: str
    definitions: dict[str, list[ast.AST]] = field(default_factory=lambda: defaultdict(list))
    imports: dict[str, list[tuple[str, str | None]]] = field(default_factory=lambda: defaultdict(list))
    subjects: dict[str, str] = field(default_factory=dict)

    def read(self, tree: ast.Module, package: str) -> "Module":
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    target = alias.name if alias.asname else alias.name.split(".")[0]
                    self.imports[alias.asname or target].append((target, None))
            elif isinstance(node, ast.ImportFrom):
                above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                base = ".".join([*above, *([node.module] if node.module else [])])
                for alias in node.names:
                    self.imports[alias.asname or alias.name].append((base, alias.name))
        for statement in tree.body:
            if isinstance(statement, ast.Import | ast.ImportFrom) or _is_text(statement) or _is_command(statement):
                continue
            for name in bound(statement) or {EFFECTS}:
                self.definitions[name].append(statement)
        return self

    def read_museum(self, told: dict[str, Any]) -> None:
        for statement in self.definitions.get("SUBJECTS", []):
            for entry in getattr(getattr(statement, "value", None), "elts", []):
                if isinstance(entry, ast.Call):
                    named = [*entry.args[:1], *(keyword.value for keyword in entry.keywords if keyword.arg == "name")]
                    if named and isinstance(named[0], ast.Constant):
                        key = f"SUBJECTS[{named[0].value}]"
                        self.definitions[key] = [entry, ast.Constant(repr(told.pop(named[0].value, "")))]
                        self.subjects[named[0].value] = key
        if told:
            self.definitions["slips"] = [ast.Constant(repr(told))]


class Library:
    """The dgmlib under `root` as it stands in its files, read lazily and once."""

    def __init__(self, root: Path):
        self.root, self._modules, self._texts, self._next = root, {}, {}, {}

    def reached(self, code: ast.Module) -> set[tuple[str, str]]:
        """(module, name) of every definition that a chapter's code reaches.

        An entry of the museum is found at run time by its subject's name: it counts where that stands as a string.
        """
        strings = {node.value for node in ast.walk(code) if isinstance(node, ast.Constant)}
        waiting = list(self._used(Module("").read(code, ""), [code]))
        if {("dgmlib.bugs", "subjects"), ("dgmlib.bugs", "slips")} & set(waiting):
            waiting += [(museum.name, WHOLE) for museum in self._museum]
        waiting += [
            (museum.name, key)
            for museum in self._museum
            for subject, key in museum.subjects.items()
            if subject in strings
        ]
        seen: set[tuple[str, str]] = set()
        while waiting:
            item = waiting.pop()
            if item not in seen:
                seen.add(item)
                waiting += self._led_to(*item)
        return {(module, name) for module, name in seen if name != WHOLE and self._module(module)}

    def _led_to(self, name: str, definition: str) -> list[tuple[str, str]]:
        """What a definition reaches in one step."""
        if (name, definition) not in self._next:
            found, module = [], self._module(name)
            if module and definition == WHOLE:
                found = [(name, each) for each in module.definitions]
            elif module:
                effects = [(name, EFFECTS)] if EFFECTS in module.definitions else []
                found = [*effects, *self._used(module, module.definitions[definition])]
            self._next[name, definition] = found
        return self._next[name, definition]

    def text(self, module: str, name: str) -> str:
        """The definition, canonically."""
        if (module, name) not in self._texts:
            self._texts[module, name] = "\n".join(map(canonical, self._module(module).definitions[name]))
        return self._texts[module, name]

    @cached_property
    def _museum(self) -> list[Module]:
        files = sorted((self.root / "dgmlib" / "bugs").glob("*.py"))
        return [self._module(f"dgmlib.bugs.{path.stem}") for path in files if path.stem != "__init__"]

    def _file(self, name: str) -> Path | None:
        base = self.root.joinpath(*name.split("."))
        return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)

    def _module(self, name: str) -> Module | None:
        """The module of dgmlib with this name, or None if there is none or if it changes no result."""
        if name not in self._modules:
            path = self._file(name) if name.split(".")[0] == "dgmlib" else None
            if path is None or name in UNHASHED or name.startswith("dgmlib.commands."):
                self._modules[name] = None
            else:
                package = name if path.name == "__init__.py" else name.rpartition(".")[0]
                tree = without_docstrings(ast.parse(path.read_text("utf-8")))
                self._modules[name] = Module(name).read(tree, package)
                if package == "dgmlib.bugs":
                    told = path.with_suffix(".toml")
                    self._modules[name].read_museum(tomllib.loads(told.read_text("utf-8")) if told.is_file() else {})
        return self._modules[name]

    def _used(self, module: Module, statements: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
        """What the statements, which stand in `module`, lead to in one step."""
        for target, _ in module.imports.get(WHOLE, []):  # from … import *
            yield target, WHOLE
        for statement in statements:
            used, local = paths(statement)
            for first, *rest in used:
                yield from self._resolved(module, first, rest, first in local)

    def _resolved(self, module: Module, first: str, rest: list[str], local: bool) -> Iterator[tuple[str, str]]:
        if first in module.definitions and module.name:
            yield module.name, first
        for target, member in module.imports.get(first, []):
            if target.split(".")[0] == "dgmlib":
                yield from self._member(target, [member, *rest] if member else rest, local)

    def _member(self, name: str, path: list[str], local: bool) -> Iterator[tuple[str, str]]:
        """Where `path` leads from the module `name`: through its subpackages and what it imports itself."""
        for i, step in enumerate(path):
            module = self._module(name)
            if module and (step in module.definitions or step in module.imports):
                yield from self._resolved(module, step, path[i + 1 :], local)
                return
            if self._file(f"{name}.{step}") is None:
                return
            name = f"{name}.{step}"
        if not local:  # a module used as a value: whoever has it can take anything from it
            yield name, WHOLE


def paths(code: ast.AST) -> tuple[list[list[str]], set[str]]:
    """The dotted names that a piece of code uses, ["dv", "kl_gaussian"] for `dv.kl_gaussian(p, q)`, and what it binds.

    Where a name that is bound within stands for a module as well, it is a variable.
    """
    found, local = [], set()
    inner: set[ast.AST] = set()
    for node in ast.walk(code):  # an attribute comes before what it is taken of
        if isinstance(node, ast.arg):
            local.add(node.arg)
        elif isinstance(node, ast.Attribute | ast.Name) and node not in inner:
            path = []
            while isinstance(node, ast.Attribute):
                path.append(node.attr)
                node = node.value
                inner.add(node)
            if isinstance(node, ast.Name):
                found.append([node.id, *reversed(path)])
                if isinstance(node.ctx, ast.Store):
                    local.add(node.id)
    return found, local


def bound(statement: ast.AST) -> set[str]:
    """Names that a statement binds or changes in its own scope."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    found: set[str] = set()
    for node in ast.iter_child_nodes(statement):
        if isinstance(node, ast.Name | ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store):
            while isinstance(node, ast.Attribute | ast.Subscript):  # X.a = … and X["a"] = … change X
                node = node.value
            if isinstance(node, ast.Name):
                found.add(node.id)
        elif not isinstance(node, OWN_SCOPE):
            found |= bound(node)
    return found


def _is_command(statement: ast.AST) -> bool:
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'"
