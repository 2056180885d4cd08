"""Example calls of `dgmlib.results`."""

from pathlib import Path

from dgmlib import results

CALLS = {
    "read": (results.read, {"folder": results.FOLDER}),
    "told": (results.told, {"value": 0.5}, {"value": {"infinite", "minus infinity"}}),
    "Table": (results.Table, {"headings": ["a"], "rows": [["b"]], "note": "", "cards": False}),
    "measured": (results.measured, {"folder": Path("nowhere")}),
}
