"""Other throughput estimators, one file each, behind one function: ``predict(case) -> Prediction``.

A file states what the peer is (``NAME``, ``VERSION``, ``LICENCE``, ``SOURCE``), its package (``PACKAGES``), how it was
fed (``FED``) and the sources that its own authors collected, where there are some (``OWN_SOURCES``). Peers run in the
environments of the memory benchmark, where this package is imported with the standard library alone. What does not live
here: code of a peer.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

PEERS = ("servcalc", "aiconfigurator")


def peer(name: str) -> ModuleType:
    """Return the module of the peer called ``name``; KeyError for a name that is not in PEERS."""
    if name not in PEERS:
        raise KeyError(name)
    return import_module(f"benchmarks.throughput.peers.{name}")
