"""Lazy imports of the generated provider SDKs, which save offline runs a third of their time.

``pulumi_aws.ec2`` imports 180 modules for one class, and a program uses about thirty classes. Offline runs load the
modules of these classes only. The language host imports the SDKs as usual.
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
"""Packages whose ``__init__`` only imports all their modules."""


def load_only_what_is_named() -> None:
    """From now on load only those modules of a generated SDK package that define the names used."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the garbage collector: thousands of SDK classes are never freed, and each pass over them takes a second.

    Objects imported meanwhile are frozen, so later passes skip them, also at exit.
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
    """Finds generated packages as usual and gives them the lazy loader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the usual spec with the lazy loader; None for packages that are not generated."""
        if not GENERATED.fullmatch(fullname):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.submodule_search_locations and isinstance(spec.loader, InspectLoader):
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """Loads a package empty; names are loaded on first use."""

    def __init__(self, whole: InspectLoader) -> None:
        self._whole = whole

    def exec_module(self, module: ModuleType) -> None:
        """Set the package's ``__getattr__`` (PEP 562)."""
        vars(module)["__getattr__"] = _Names(module, self._whole)


class _Names:
    """``__getattr__`` of one generated package.

    A class is in the module of its name (``LaunchTemplate`` in ``launch_template``), arguments are in ``_inputs``. For
    any other name the whole package is loaded, as without this module.
    """

    def __init__(self, package: ModuleType, whole: InspectLoader) -> None:
        self._package, self._whole = package, whole
        self._modules = {stem.replace("_", "").lower(): stem for stem in _stems(package)}
        self._loading = threading.RLock()
        self._loaded = False

    def __call__(self, name: str) -> Any:
        """Return what the package exports under ``name``; AttributeError when it exports no such thing."""
        if name.startswith("_"):
            return (
                self._from_whole(name) if name == "__all__" else self._refuse(name)
            )  # a star import needs the whole package
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
