"""All-reduces of tensor parallelism: latency and bandwidth by card and number of GPUs.

    time = latency + 2 (n - 1) / n x message / bandwidth          of n GPUs, by a ring or by reading directly

Measured cards are in ``sizing/catalogue/all_reduce.json`` (source, date and refresh are there). Another card takes the
curve of a measured one of its architecture and link, else of its link, scaled by the width of the two links.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sizing.catalogue import Gpu
from sizing.catalogue.files import dated_file

PEERS = frozenset({"RTX-PRO-6000"})
"""Cards on PCIe whose machines let one GPU read another's memory: AWS states it of G7e alone. The others go through
the memory of the host."""
THROUGH_HOST = 4
"""Fewest GPUs of the measured machine whose ring went through the host's memory."""
LIKE: Mapping[str, str] = {"nvlink": "H100", "fabric": "H100", "pcie": "L40S", "network": "L40S"}
"""Measured card by link, for cards whose architecture was not measured. Of the two on PCIe it is the slower, whose GPUs
share the PCIe lanes of the processors, as in most machines."""


@dataclass(frozen=True, kw_only=True)
class AllReduce:
    """Two algorithms: a ring, and direct reads of the other GPUs' memory (0 bytes a second where there are none)."""

    ring_latency_s: float
    ring_bytes_per_s: float
    """Of the 2 (n - 1) / n messages that each GPU sends."""
    direct_latency_s: float = 0.0
    direct_bytes_per_s: float = 0.0


def all_reduce(gpu: Gpu, gpus: int) -> AllReduce:
    """Return the all-reduce of ``gpus`` cards of this kind in one machine: of the next larger number measured."""
    return _of(gpu.name, gpu.architecture, gpu.link, gpu.link_gb_s, gpus)


@lru_cache(maxsize=256)
def _of(name: str, architecture: str, link: str, link_gb_s: float, gpus: int) -> AllReduce:
    cards = _cards()
    card = name if name in cards and _listed(name)["link"] == link else _stand_in(architecture, link, cards)
    by_number = cards[card]
    if link in {"pcie", "network"} and name not in PEERS:
        gpus = max(gpus, THROUGH_HOST)
    number = min((known for known in map(int, by_number) if known >= gpus), default=max(map(int, by_number)))
    measured, scale = by_number[str(number)], link_gb_s / _listed(card)["link_gb_s"]
    return AllReduce(
        ring_latency_s=measured["ring_latency_us"] * 1e-6,
        ring_bytes_per_s=measured["ring_gb_s"] * 1e9 * scale,
        direct_latency_s=measured.get("direct_latency_us", 0.0) * 1e-6,
        direct_bytes_per_s=measured.get("direct_gb_s", 0.0) * 1e9 * scale,
    )


def _stand_in(architecture: str, link: str, cards: Mapping[str, Any]) -> str:
    known = (_listed(name) for name in sorted(cards))
    alike = [str(card["name"]) for card in known if (card["architecture"], card["link"]) == (architecture, link)]
    return alike[0] if alike else LIKE[link]


def _listed(name: str) -> Mapping[str, Any]:
    """Return a card that was measured as ``gpus.json`` has it."""
    return next(row for row in dated_file("gpus")["gpus"] if row["name"] == name)


def _cards() -> Mapping[str, Mapping[str, Mapping[str, float]]]:
    cards: Mapping[str, Mapping[str, Mapping[str, float]]] = dated_file("all_reduce")["cards"]
    return cards
