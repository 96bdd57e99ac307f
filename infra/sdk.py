"""Keeps the generated SDKs of the providers from costing seconds where no engine is waited for.

``pulumi_aws.ec2`` alone imports 180 modules when one class of it is named, and a program names about thirty of them.
Offline runs load just those: the same classes from the same modules, in a third less time. The language host starts
the program without any of this.
"""

from __future__ import annotations

import gc
import importlib
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import InspectLoader, Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

GENERATED = re.compile(r"pulumi_aws\.(?!config$)[a-z0-9]+|pulumi_kubernetes\.[a-z]+\.v[a-z0-9]+")
"""Packages whose ``__init__`` does nothing but import all their modules."""


def load_only_what_is_named() -> None:
    """Load, from now on, of a generated SDK package only the modules that define what is asked of it."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the garbage collector: SDK classes stay for ever, and each look at the thousands of them costs a second.

    What was imported meanwhile is not looked at later either, not even when the process ends.
    """
    enabled, modules = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > modules:
            gc.freeze()
        if enabled:
            gc.enable()


class _Finder(MetaPathFinder):
    """Finds generated packages as ever, and gives them a loader that waits for names."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the ordinary spec with the other loader, None for whatever is not generated."""
        if not GENERATED.fullmatch(fullname):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.submodule_search_locations and isinstance(spec.loader, InspectLoader):
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """Loads a package empty: its names come when they are asked for."""

    def __init__(self, whole: InspectLoader) -> None:
        self._whole = whole

    def exec_module(self, module: ModuleType) -> None:
        """Give the package a function that looks names up (PEP 562)."""
        vars(module)["__getattr__"] = _Names(module, self._whole)


class _Names:
    """The names of one generated package.

    A class stands in the module of its name (``LaunchTemplate`` in ``launch_template``), arguments in ``_inputs``. For
    any other name the package is loaded whole, as it would have been, and is asked again.
    """

    def __init__(self, package: ModuleType, whole: InspectLoader) -> None:
        self._package, self._whole = package, whole
        self._modules = {stem.replace("_", "").lower(): stem for stem in _stems(package)}
        self._loading = threading.RLock()
        self._loaded = False

    def __call__(self, name: str) -> Any:
        """Return what the package exports under ``name``; AttributeError when it exports no such thing."""
        if name.startswith("_"):
            return self._from_whole(name) if name == "__all__" else self._refuse(name)  # a star takes all there is
        module = self._modules.get(name.replace("_", "").lower()) or self._modules.get("inputs")
        if module:
            found = importlib.import_module(f"{self._package.__name__}.{module}")
            if name in vars(found):
                setattr(self._package, name, vars(found)[name])
                return vars(found)[name]
            if name == module:
                return found
        return self._from_whole(name)

    def _from_whole(self, name: str) -> Any:
        with self._loading:
            if not self._loaded:
                self._loaded = True
                self._whole.exec_module(self._package)
        return vars(self._package)[name] if name in vars(self._package) else self._refuse(name)

    def _refuse(self, name: str) -> NoReturn:
        raise AttributeError(f"module {self._package.__name__!r} has no attribute {name!r}")


def _stems(package: ModuleType) -> list[str]:
    return [path.stem for folder in package.__path__ for path in sorted(Path(folder).glob("*.py"))]
