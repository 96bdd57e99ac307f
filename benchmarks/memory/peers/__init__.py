"""Other memory estimators, one file each, behind one function: ``predict(case) -> Prediction``.

A file states what the peer is (``NAME``, ``VERSION``, ``LICENCE``, ``SOURCE``), what must be installed to run it
(``PACKAGES``; empty for a rule that fits into a few lines of our own, written from the cited source) and how it was
fed (``FED``). What a peer does not speak of stays None. Packaged peers run in environments of their own
(``environments``), where this package is imported with the standard library alone. What does not live here:
code of a peer.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

PEERS = (
    "hf_mem",
    "aiconfigurator",
    "llm_sizer",
    "servcalc",
    "llm_d",
    "kaito",
    "gguf_parser",
    "parameters_and_a_fifth",
    "two_layers_hidden",
    "ninety_percent",
)


def peer(name: str) -> ModuleType:
    """Return the module of the peer called ``name``; KeyError for a name that is not in PEERS."""
    if name not in PEERS:
        raise KeyError(name)
    return import_module(f"benchmarks.memory.peers.{name}")
