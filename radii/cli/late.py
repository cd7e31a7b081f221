"""Modules that are loaded when something of them is first used: to load torch takes longer than many a command does."""

import sys
from importlib.util import find_spec, module_from_spec
from threading import RLock
from types import ModuleType
from typing import Any

_LOADING = RLock()


class _Late(ModuleType):
    """A package that loads itself. Python's own ``LazyLoader`` does so too, but in 3.11 at the next ``import`` already.

    It has no ``__path__`` as yet, so that the import of a part of it comes here as well.
    """

    def __getattr__(self, name: str) -> Any:
        with _LOADING:
            if type(self) is _Late:
                spec = self.__spec__
                assert spec is not None and spec.loader is not None
                self.__class__ = ModuleType  # type: ignore[assignment]
                self.__path__ = list(spec.submodule_search_locations or ())
                spec.loader.exec_module(self)
        return getattr(self, name)


def import_late(name: str) -> None:
    """Have ``import name`` cost nothing from now on, until the package is used. One that is not there is left alone."""
    spec = None if name in sys.modules else find_spec(name)
    if spec is not None:
        module = module_from_spec(spec)
        del module.__path__
        module.__class__ = _Late
        sys.modules[name] = module
