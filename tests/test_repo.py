"""The outside of the house: commands, lock, licence and layout are what the README and the Makefile say."""

import ast
import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tokenize
import tomllib
import zipfile
from pathlib import Path

import address
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LIBRARY = sorted((ROOT / "dgmlib").rglob("*.py"))
PYTORCH_ASKS = {"get_extra_state", "set_extra_state", "state_dict", "load_state_dict", "extra_repr"}
TEXT = {"", ".cff", ".cfg", ".css", ".csv", ".ipynb", ".js", ".json", ".lock", ".md", ".py", ".svg", ".toml", ".yml"}


def tracked() -> list[Path]:
    """What git holds, or would hold: tracked files and new ones that are not ignored."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


# --- what is written down is so --------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_command_and_path_of_a_page_exists(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)\b", "\n".join(re.findall(r"`[^`]+`|```.*?```", text, re.DOTALL))))
    assert named
    assert named <= targets, f"{page} names make {named - targets}"
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert link.startswith("https://") or (ROOT / link).exists(), f"{page} links to {link}"


def test_make_help_lists_every_command():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = set(re.search(r"^\.PHONY: ((?:.*\\\n)*.*)$", makefile, re.MULTILINE)[1].replace("\\", "").split())
    assert set(re.findall(r"^## make ([a-z-]+)", makefile, re.MULTILINE)) == phony - {"help", "install"}


def test_no_file_names_an_index_host_or_a_path_of_one_machine():
    forbidden = re.compile(
        "|".join(
            [
                r"py" + r"pi\.org",
                r"python" + r"hosted",
                r"registry\." + r"npmjs",
                r"deb\." + r"debian\.org",
                r"download\." + r"pytorch\.org",
                r"(?<![\w.])/wo" + r"rk/",
                r"(?<![\w.*])/t" + r"mp/",
                r"/ho" + r"me/\w",
            ]
        )
    )
    assert forbidden.search("see https://py" + "pi.org"), "the pattern itself must bite"
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked()
        if path.suffix in TEXT
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if forbidden.search(line)
    ]
    assert not found


def test_the_tree_is_light():
    sizes = {path.relative_to(ROOT): path.stat().st_size for path in tracked()}
    assert sum(sizes.values()) < 24e6, sorted(sizes, key=sizes.get)[-5:]
    assert not [path for path, size in sizes.items() if path.suffix == ".ipynb" and size > 700_000]


def test_ci_runs_the_readme_s_test_command():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert re.search(r"^make test$", script.read_text(encoding="utf-8"), re.MULTILINE)
    assert re.search(r"^make test\b", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


SETTINGS = {
    "OMP_NUM_THREADS=2",
    "ATEN_CPU_CAPABILITY=default",
    "MKL_CBWR=COMPATIBLE",
    "MKL_ENABLE_INSTRUCTIONS=AVX2",
    "DGM_SEED=1",
    "DGM_NOISE=0",
}
FAKE_MAKE = """#!/usr/bin/env bash
env | grep -E '^({names})=' | tr '\\n' ' ' >> "{log}"
echo "| $*" >> "{log}"
"""


def ci(folder: Path, day: int, *arguments: str) -> list[tuple[set[str], str]]:
    """What .ci/run asks of `make` on a day, in a tree of seven chapters: (settings, arguments)."""
    (folder / ".ci").mkdir()
    (folder / "chapters").mkdir()
    shutil.copy(ROOT / ".ci" / "run", folder / ".ci")
    for number in range(1, 8):
        (folder / "chapters" / f"0{number}_x.ipynb").touch()
    log, names = folder / "log", "|".join(setting.split("=")[0] for setting in SETTINGS)
    tools = {"make": FAKE_MAKE.format(names=names, log=log), "date": f"#!/bin/sh\necho {day * 86400 + 7}\n"}
    for name, text in (tools | {"chromium": "#!/bin/sh\n"}).items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if k not in names.split("|")}
    environment["PATH"] = f"{folder}{os.pathsep}{environment['PATH']}"
    script = ["bash", folder / ".ci" / "run", *arguments]
    subprocess.run(script, env=environment, capture_output=True, text=True, check=True, timeout=60)
    lines = [line.split("| ") for line in log.read_text().splitlines()]
    return [(set(settings.split()), asked) for settings, asked in lines]


def test_ci_runs_each_chapter_under_each_setting_within_three_days(tmp_path):
    seen = []
    for day in range(100, 103):
        (tmp_path / str(day)).mkdir()
        first, *others = ci(tmp_path / str(day), day)
        assert first == (set(), "test")
        assert {setting for settings, _ in others for setting in settings} == SETTINGS
        assert len(others) == len(SETTINGS) and len({asked for _, asked in others}) == 1
        seen += re.findall(r"\d\d_x", others[0][1])
    assert sorted(seen) == [f"0{number}_x" for number in range(1, 8)]
    (tmp_path / "all").mkdir()
    everything = ci(tmp_path / "all", 100, "all")[1:]
    assert all(len(re.findall(r"\d\d_x", asked)) == 7 for _, asked in everything)


def test_what_the_workflows_run_of_others_is_pinned_by_hash():
    used = [
        line.split("uses:")[1]
        for path in (ROOT / ".github" / "workflows").glob("*.yml")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "uses:" in line
    ]
    assert used and all(re.fullmatch(r" [\w/-]+@[0-9a-f]{40} # v[\d.]+", action) for action in used)


# --- one list of packages --------------------------------------------------------------------------------------------


def pins(lock: str) -> dict[str, str]:
    lines = (ROOT / lock).read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines), "a plain pin, no build tag"
    assert lines == sorted(lines, key=str.upper)
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def test_the_lock_pins_every_direct_dependency_within_its_bounds():
    locked, extras = pins("requirements.lock"), PROJECT["project"]["optional-dependencies"]
    for text in [*PROJECT["project"]["dependencies"], *extras["book"], *extras["test"]]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(locked[canonicalize_name(wanted.name)]), f"{text} is not what the lock pins"


def test_the_peers_are_locked_beside_what_dgmlib_runs_on():
    ours, theirs = pins("requirements.lock"), pins("benchmarks/requirements.lock")
    needed = {canonicalize_name(Requirement(text).name) for text in PROJECT["project"]["dependencies"]}
    peers = re.search(r"^PEERS := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[1].split()
    assert (
        peers
        and {canonicalize_name(name): v for name, v in (peer.split("==") for peer in peers)}.items() <= theirs.items()
    )
    assert needed <= theirs.keys()
    assert not {name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name]}
    assert not {peer.split("==")[0] for peer in peers} & ours.keys(), "a peer is no dependency of the course"


def test_every_benchmark_is_a_family_of_rows():
    for path in sorted((ROOT / "benchmarks").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert ast.get_docstring(tree) and (path.stem == "run" or functions["rows"].args.args[0].arg == "generator")


def test_the_conda_file_only_wraps_the_lock():
    lines = (ROOT / "environment.yml").read_text(encoding="utf-8").splitlines()
    packages = [line.strip() for line in lines[lines.index("dependencies:") + 1 :]]
    assert packages == ["- python=3.11", "- pip", "- pip:", "- -r requirements.lock", "- -e ."]


def test_the_declared_packages_are_the_folders():
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in LIBRARY if path.name == "__init__.py"}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found
    assert {path.parent for path in LIBRARY} == {path.parent for path in LIBRARY if path.name == "__init__.py"}


def test_a_wheel_made_from_a_source_archive_holds_every_file_of_the_library(tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(ROOT / "dgmlib", tree / "dgmlib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    build = "import sys, setuptools.build_meta as m; print(getattr(m, sys.argv[1])(sys.argv[2]))"
    subprocess.run(
        [sys.executable, "-c", build, "build_sdist", str(tmp_path)], cwd=tree, check=True, capture_output=True
    )
    (archive,) = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(archive, tmp_path, filter="data")
    unpacked = tmp_path / archive.name.removesuffix(".tar.gz")
    subprocess.run(
        [sys.executable, "-c", build, "build_wheel", str(tmp_path)], cwd=unpacked, check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    found = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("dgmlib/")}
    assert found == {path.relative_to(tree).as_posix() for path in (tree / "dgmlib").rglob("*") if path.is_file()}


# --- the library -----------------------------------------------------------------------------------------------------


def lines_of_code(source: str) -> int:
    """Lines that hold code: no blank line, no comment, no docstring."""
    idle = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    code = {row for t in tokens if t.type not in idle for row in range(t.start[0], t.end[0] + 1)}
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                code -= set(range(node.lineno, node.end_lineno + 1))
    return len(code)


def test_lines_of_code_counts_code():
    assert (
        lines_of_code('"""Doc\nstring."""\n\n# comment\nx = """\ntext"""  # two lines\n\ndef f():\n    """Doc."""\n')
        == 3
    )


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_is_short_documented_and_imports_nothing_of_the_book(path):
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    assert lines_of_code(source) < 400
    for node in ast.walk(tree):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else names
        assert not {name.split(".")[0] for name in names} & {"book", "tests", "benchmarks", "course", "chapters"}
    assert ast.get_docstring(tree), "a module says in its first line what it is about"
    if "bugs" in path.parts:
        return  # a wrong variant has its story in the table
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    members = [*tree.body, *(member for owner in classes for member in owner.body)]
    for node in (node for node in members if isinstance(node, ast.ClassDef | ast.FunctionDef)):
        told = node.name.startswith("_") or node.name in {"main"} | PYTORCH_ASKS or ast.get_docstring(node)
        assert told, f"{node.name} (line {node.lineno}) has no docstring"


def test_the_museum_is_much_shorter_than_what_it_is_about():
    lines = {path: lines_of_code(path.read_text(encoding="utf-8")) for path in LIBRARY}
    assert sum(n for path, n in lines.items() if "bugs" in path.parts) < 0.3 * sum(lines.values())


# --- make, with a python3 that only pretends -------------------------------------------------------------------------

FAKE_PYTHON = """#!/usr/bin/env bash
echo "$(basename "$0") $*" >> {log}
case "$*" in
    "-V") echo Python {version} ;;
    *version_info*) {old} ;;
    *ensurepip*) {venv} ;;
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    *{fails}*) echo "ERROR: No matching distribution found for nbval==0.11.0" >&2; exit 1 ;;
esac
"""


def make(folder: Path, *arguments: str, version="3.11.7", old="true", venv="true", fails="nothing"):
    """`make` on a copy of the Makefile and the lock, and what its stand-in for Python was asked to do."""
    for name in ("Makefile", "requirements.lock"):
        if not (folder / name).exists():
            shutil.copy(ROOT / name, folder / name)
    log = folder / "log"
    log.write_text("")
    python = folder / "pretend"
    python.write_text(FAKE_PYTHON.format(log=log, version=version, old=old, venv=venv, fails=fails))
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    command = ["make", "--no-print-directory", f"PYTHON={python}", ".venv/.installed", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    return done, [line for line in log.read_text().splitlines() if " install " in line]


def test_the_environment_is_built_once_torch_first_and_the_stamp_written_last(tmp_path):
    done, asked = make(tmp_path)
    assert done.returncode == 0, done.stderr
    torch, lock, ours = asked
    assert "--no-deps torch==" in torch and "-r requirements.lock" in lock and "--no-deps" not in lock
    assert ours.endswith("-e .")
    assert (tmp_path / ".venv/.installed").read_bytes() == (tmp_path / "requirements.lock").read_bytes()
    assert make(tmp_path)[1] == []
    os.utime(tmp_path / "requirements.lock")
    assert make(tmp_path)[1] == [], "a newer lock with the same pins asks for nothing"
    (tmp_path / "requirements.lock").write_text("torch==2.14.0\n")
    os.utime(tmp_path / "requirements.lock", (2e9, 2e9))
    assert "torch==2.14.0" in make(tmp_path)[1][0]


def test_the_benchmarks_have_an_environment_and_a_stamp_of_their_own(tmp_path):
    lock = tmp_path / "benchmarks" / "requirements.lock"
    lock.parent.mkdir()
    lock.write_text("torch==2.13.0\n")
    done, asked = make(tmp_path, "benchmarks/.venv/.installed")
    assert done.returncode == 0, done.stderr
    ours, theirs = asked[:3], asked[3:]
    assert "-r requirements.lock" in ours[1] and "-r benchmarks/requirements.lock" in theirs[1] and len(theirs) == 3
    assert (lock.parent / ".venv/.installed").read_bytes() == lock.read_bytes()
    assert make(tmp_path, "benchmarks/.venv/.installed")[1] == []
    lock.write_text("torch==2.14.0\n")
    os.utime(lock, (2e9, 2e9))
    assert len(make(tmp_path, "benchmarks/.venv/.installed")[1]) == 3, "the course's own environment stays"


def test_a_half_built_environment_is_built_anew(tmp_path):
    done, _ = make(tmp_path, fails="requirements.lock")
    assert done.returncode != 0
    assert not (tmp_path / ".venv/.installed").exists()
    (tmp_path / ".venv" / "left over").touch()
    done, asked = make(tmp_path)
    assert done.returncode == 0 and len(asked) == 3
    assert not (tmp_path / ".venv" / "left over").exists()


def test_the_other_index_is_asked_for_torch_alone(tmp_path):
    _, asked = make(tmp_path, "TORCH_INDEX=https://index.example/cpu")
    assert [("index.example" in line) for line in asked] == [True, False, False]
    assert "--no-deps" in asked[0]


@pytest.mark.parametrize(
    ("world", "sentence"),
    [
        ({"old": "false", "version": "3.9.2"}, "Python 3.9.2 is too old: the course needs 3.11 or newer"),
        ({"venv": "false"}, "Python 3.11.7 has no venv module"),
        ({"fails": "requirements.lock"}, "pip could not install nbval==0.11.0: is this machine on the network?"),
    ],
)
def test_what_is_missing_is_named_in_one_sentence(tmp_path, world, sentence):
    done, _ = make(tmp_path, **world)
    assert done.returncode != 0
    assert sum(sentence in line for line in done.stderr.splitlines()) == 1


def test_a_python_that_does_not_exist_is_named(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "requirements.lock", tmp_path)
    command = ["make", "PYTHON=no-such-python", ".venv/.installed"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "no-such-python was not found: install Python 3.11 or newer" in done.stderr


# --- make address ----------------------------------------------------------------------------------------------------

URL = "https://github.com/someone/deep-generative-models"


def small_book(folder: Path, first_cell: str = address.first_cell()) -> Path:
    """Two chapters and a configuration, written as the chapters are."""
    (folder / "chapters").mkdir()
    for name in ("03_likelihood", "04_autoregressive"):
        cells = [
            {"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# Vraisemblance é\n", "text"]},
            {
                "cell_type": "code",
                "execution_count": 1,
                "id": "b",
                "metadata": {},
                "outputs": [],
                "source": first_cell.splitlines(keepends=True),
            },
        ]
        notebook = {"cells": cells, "metadata": {"dgmlib": {"hash": "0"}}, "nbformat": 4, "nbformat_minor": 5}
        (folder / "chapters" / f"{name}.ipynb").write_text(json.dumps(notebook, ensure_ascii=False, indent=1) + "\n")
    (folder / "_config.yml").write_text("title: T\n\nhtml:\n  favicon: f.svg\n\nlatex:\n  x: false\n")
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_address_is_set_everywhere_and_again_changes_nothing(tmp_path):
    before = contents(small_book(tmp_path))
    assert len(address.set_address(tmp_path, URL)) == 3
    after = contents(tmp_path)
    for name in ("03_likelihood.ipynb", "04_autoregressive.ipynb"):
        old, new = json.loads(before[name]), json.loads(after[name])
        cell = "".join(new["cells"][1].pop("source"))
        old["cells"][1].pop("source")
        assert old == new, "nothing but the first code cell"
        assert f'%pip install -q "git+{URL}"' in cell and "SystemExit" not in cell
        assert address.is_first_cell(cell)
    assert after["_config.yml"].startswith(before["_config.yml"])
    assert f"\nrepository:\n  url: {URL}\n" in after["_config.yml"] and "\nlaunch_buttons:\n" in after["_config.yml"]
    assert address.set_address(tmp_path, URL + ".git/") == []
    assert contents(tmp_path) == after


def test_another_address_replaces_the_first(tmp_path):
    address.set_address(small_book(tmp_path), URL)
    once = contents(tmp_path)
    other = "https://github.com/another/place"
    assert len(address.set_address(tmp_path, other)) == 3
    assert contents(tmp_path) == {name: text.replace(URL, other) for name, text in once.items()}


@pytest.mark.parametrize(
    "url",
    ["", "github.com/a/b", "http://github.com/a/b", "https://github.com/a", "https://github.com/a/b/c",
     "https://github.com/a/b c", 'https://github.com/a/b"; rm', "https://github.com/a/b?x=1", "https://example.com/a/b",
     "git@github.com:a/b.git", "https://github.com/-a/b", "https://github.com/a/.."],
)  # fmt: skip
def test_a_malformed_address_is_refused_and_nothing_is_written(tmp_path, url):
    before = contents(small_book(tmp_path))
    with pytest.raises(ValueError, match=r"expected https://github\.com/OWNER/NAME"):
        address.set_address(tmp_path, url)
    assert contents(tmp_path) == before


def test_a_chapter_with_another_first_cell_stops_address_before_anything_is_written(tmp_path):
    small_book(tmp_path)
    chapter = tmp_path / "chapters" / "04_autoregressive.ipynb"
    chapter.write_text(chapter.read_text().replace("run = setup()", "run = setup( )"))
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"04_autoregressive\.ipynb: its first code cell"):
        address.set_address(tmp_path, URL)
    assert contents(tmp_path) == before


def test_every_chapter_starts_with_the_shared_cell_and_the_same_address():
    sources = {
        next("".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code")
        for path in (ROOT / "chapters").glob("*.ipynb")
    }
    assert len(sources) <= 1
    assert all(map(address.is_first_cell, sources))
