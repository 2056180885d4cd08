"""What trains, judges and saves: the pages behind `python -m dgmlib.vae` and its like, one a model.

`dgmlib/vae.py` holds the mathematics; `dgmlib/commands/vae.py` the run that a chapter shows as measured.
"""

import importlib
import sys


def run(name: str) -> None:
    """Run `dgmlib.commands.NAME.main` as a program: what it refuses ends it with that one sentence, and status 1."""
    try:
        importlib.import_module(f"dgmlib.commands.{name}").main()
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        sys.exit(f"python -m dgmlib.{name}: {error}")
    except KeyboardInterrupt as error:
        sys.exit(f"python -m dgmlib.{name}: {error}" if str(error) else 130)
