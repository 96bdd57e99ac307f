"""Other planners behind one function: ``picks(question) -> list[Pick]``.

A file states what the peer is (``NAME``, ``VERSION``, ``LICENCE``, ``SOURCE``), its package (``PACKAGES``) and how it
was fed (``FED``). Packaged peers run in the environments of the memory benchmark, where this package is imported with
the standard library alone. Projects that publish examples and no planner are recorded in ``data/plan_picks.json``.
What does not live here: code of a peer.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

from benchmarks.plans.peers.documented import projects
from benchmarks.plans.peers.question import Peer

PLANNERS = ("aiconfigurator", "servcalc", "llm_sizer", "kaito")
PEERS = (*PLANNERS, *projects())


def peer(name: str) -> Peer:
    """Return the peer called ``name``; KeyError for a name that is not in PEERS."""
    if name in PLANNERS:
        return cast("Peer", import_module(f"benchmarks.plans.peers.{name}"))
    return projects()[name]
