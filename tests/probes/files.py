"""Example calls of `dgmlib.files`."""

import tempfile
from pathlib import Path

from dgmlib import files

FOLDER = tempfile.TemporaryDirectory()
PATH = Path(FOLDER.name) / "mine.csv"
PATH.write_text("1,2\n3,4\n5,7\n")

CALLS = {
    "read": (files.read, {"path": PATH}, {"path": {"text"}})
}  # a text may be a path, where FileNotFoundError is the answer
