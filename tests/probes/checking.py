"""Example calls of `dgmlib.checking`."""

from dgmlib import checking

CALLS = {"in_words": (checking.in_words, {"key": "kl-reversed"})}
UNPROBED = dict.fromkeys(
    "Check Check.equal Check.chain Check.at_most Check.estimate".split(), "what it refuses stands in test_checking.py"
) | {"say": "prints what it is given"}
