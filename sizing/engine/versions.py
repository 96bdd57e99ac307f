"""Versions of vLLM: how they are compared, which rules each follows, which one is the default."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from sizing.catalogue.files import engine_rules
from sizing.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class VersionRules:
    """How one vLLM version accounts memory."""

    since: str
    engine: str
    gpu_memory_utilization: float
    cuda_graphs: str
    """``inside``: an estimate is taken from the KV cache; ``outside``: they live beyond the utilisation budget."""
    sampler: str
    """Which sampler the profile run measures: ``pytorch`` (sorts) or ``fused``."""
    windows: str
    """``groups``: sliding windows and chunks keep only what they need; ``full``: every token of every layer."""
    in_flight_batches: int
    """Batches whose tokens a window must still hold: 2 since scheduling runs ahead of the results."""
    state_blocks_with_prefix_caching: int
    """Blocks of recurrent state of one request when its prefixes are cached."""
    state_checkpoints: bool
    """Whether a state at a block boundary is kept from inside a prefill, in a block of its own."""
    aligned_blocks: bool
    """Whether packed blocks are padded to what the kernels of an indexer need."""
    state_prefix_caching: bool
    """Whether models with recurrent layers cache prefixes by default."""
    kv_tokens: str
    """How "GPU KV cache size" is printed: ``blocks`` x 16 or ``concurrency`` x max_model_len."""


@lru_cache(maxsize=256)
def version_tuple(version: str) -> tuple[int, int, int]:
    """Return (major, minor, patch) of a vLLM version such as ``0.26.1rc1.dev156+g0eec``; BadInput otherwise."""
    found = re.match(r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?", version.strip())
    if found is None or len(version) > 64:
        raise BadInput("vllm-version", f"{version[:64]!r} is not a version", way_out="for example 0.32.0")
    return int(found[1]), int(found[2]), int(found[3] or 0)


@lru_cache(maxsize=256)
def version_rules(version: str) -> VersionRules:
    """Return the accounting rules of ``version``; BadInput below the oldest known."""
    oldest = engine_rules("oldest_version")
    wanted = version_tuple(version)
    if wanted < version_tuple(oldest):
        raise BadInput("vllm-version", f"{version} is not modelled", limit=f"{oldest} or newer")
    known = [row for row in engine_rules("versions") if version_tuple(row["since"]) <= wanted]
    return VersionRules(**known[-1])


def default_version() -> str:
    """Return the vLLM version that plans use when none is stated."""
    return str(engine_rules("default_version"))
