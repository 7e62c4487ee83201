"""Packages whose modules are loaded when they are first asked for.

A process that only trains, of which a run may have thousands, then starts without the pages, the
assistant and what cleans posts. Reads and writes nothing.
"""

from collections.abc import Callable, Mapping
from importlib import import_module

__all__ = ["on_first_use"]


def on_first_use(package: str, modules: Mapping[str, str]) -> Callable[[str], object]:
    """Return a ``__getattr__`` for a package's ``__init__``.

    Args:
        package: Its ``__name__``.
        modules: Where each of its public names is defined, by the module's name in the package.
    """

    def load(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{modules[name]}"), name)

    return load
