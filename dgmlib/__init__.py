"""The tested implementations behind *Deep Generative Models: an Executable Course*: one flat module per topic.

`import dgmlib; dgmlib.vae` imports the module when it is first asked for.
"""

import importlib
import pkgutil
from types import ModuleType

__version__ = "0.1.0"
_MODULES = tuple(info.name for info in pkgutil.iter_modules(__path__))


def __getattr__(name: str) -> ModuleType:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_MODULES]
