"""Sets the repository's address in the first cell of every chapter and in `_config.yml`: `make address URL=…`.

With an address the first cell installs `dgmlib` where it is missing (on Colab), and the book gets its repository link
and its Colab button. Every file is read and checked before the first is written, and a second run changes nothing.
"""

import json
import re
import sys
from pathlib import Path

ADDRESS = re.compile(r"https://github\.com/[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]*[A-Za-z0-9_-]")
REFUSAL = (
    'raise SystemExit("dgmlib is not installed here: from a clone of the course, '
    'run `make lab`, or `pip install -e .`") from missing'
)
CONFIG_BLOCKS = re.compile(r"^(?:repository|launch_buttons):[^\n]*\n(?:[ \t]+[^\n]*\n|\n(?=[ \t]))*\n?", re.MULTILINE)


def first_cell(url: str | None = None) -> str:
    """The source of every chapter's first cell, before the repository has an address and after."""
    if url is None:
        missing, remedy = " as missing", REFUSAL
    else:
        missing, remedy = "", f'%pip install -q "git+{url}"'
    return (
        f"try:\n    import dgmlib\nexcept ModuleNotFoundError{missing}:\n    {remedy}\n"
        "from dgmlib.notebook import check, diagnose, explore, predict, setup, show_source\n\nrun = setup()"
    )


def is_first_cell(source: str) -> bool:
    """Whether `source` is the first cell, with any address or none."""
    url = re.search(r'"git\+([^"]+)"', source)
    return source == first_cell(url and url[1])


def need_address(url: str) -> str:
    """Return `url` without a final slash or `.git` if it is a GitHub repository's address. Raises ValueError."""
    bare = url.strip().removesuffix("/").removesuffix(".git")
    if not ADDRESS.fullmatch(bare):
        raise ValueError(f"URL is {url!r}, expected https://github.com/OWNER/NAME (Colab opens GitHub's repositories)")
    return bare


def chapter_at(text: str, url: str) -> str:
    """The notebook's JSON with the address in its first code cell. Raises ValueError if that cell is another one."""
    notebook = json.loads(text)
    cell = next((cell for cell in notebook["cells"] if cell["cell_type"] == "code"), None)
    if cell is None or not is_first_cell("".join(cell["source"])):
        raise ValueError("its first code cell is not the one all chapters share")
    source = first_cell(url)
    cell["source"] = source.splitlines(keepends=True) if isinstance(cell["source"], list) else source
    return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"


def config_at(text: str, url: str) -> str:
    """`_config.yml` with the repository's address and the Colab button, the rest as it was."""
    rest = CONFIG_BLOCKS.sub("", text).rstrip("\n")
    return (
        f"{rest}\n\nrepository:\n  url: {url}\n  branch: plain # the plain edition, for the button\n"
        '  path_to_book: ""\n\n'
        "launch_buttons:\n  colab_url: https://colab.research.google.com\n"
    )


def set_address(root: Path, url: str) -> list[Path]:
    """Set the address throughout the tree at `root`; the files that changed. Raises ValueError before writing any."""
    url = need_address(url)
    edited = {}
    for path in [root / "_config.yml", *sorted((root / "chapters").glob("*.ipynb"))]:
        text = path.read_text(encoding="utf-8")
        try:
            new = chapter_at(text, url) if path.suffix == ".ipynb" else config_at(text, url)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        if new != text:
            edited[path] = new
    for path, new in edited.items():
        path.write_text(new, encoding="utf-8")
    return list(edited)


def main() -> None:
    try:
        changed = set_address(Path(__file__).resolve().parent.parent, " ".join(sys.argv[1:]))
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    print("\n".join(f"changed {path}" for path in changed) or "nothing to change")


if __name__ == "__main__":
    main()
