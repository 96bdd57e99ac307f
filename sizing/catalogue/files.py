"""Dated files of the catalogue read once: serving on Kubernetes by block, rules of engine versions, any other whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

CATALOGUE = Path(__file__).resolve().parent
SERVING = CATALOGUE / "serving.json"


@lru_cache(maxsize=1)
def _document() -> Mapping[str, Any]:
    document: dict[str, Any] = json.loads(SERVING.read_text(encoding="utf-8"))
    return document


def serving_facts(block: str) -> Mapping[str, Any]:
    """Return one block of ``serving.json``; its ``source`` says where the figures come from."""
    facts: Mapping[str, Any] = _document()[block]
    return facts


def serving_source(block: str) -> str:
    """Return where the figures of ``block`` come from, with the date of the file."""
    return f"serving.json of {_document()['date']}: {serving_facts(block)['source']}"


@lru_cache(maxsize=32)
def dated_file(name: str) -> Mapping[str, Any]:
    """Return a whole file of the catalogue, ``spot_interruptions`` for example, with its ``source`` and ``date``."""
    document: dict[str, Any] = json.loads((CATALOGUE / f"{name}.json").read_text(encoding="utf-8"))
    return document


def engine_rules(block: str) -> Any:
    """Return one block of ``engine_defaults.json``: rules of vLLM by version, the same with every list of prices."""
    return dated_file("engine_defaults")[block]


def file_source(name: str) -> str:
    """Return how a figure names a whole file as its source, with the date of the file."""
    return f"catalogue/{name}.json of {dated_file(name)['date']}"
