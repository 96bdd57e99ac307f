"""hf-mem: weights from the safetensors header, KV cache of one request by a formula.

It reads a hub. Here its own code runs with a transport that answers from this machine: the real ``config.json`` and
a safetensors header of the size of the checkpoint. It knows no GPU and no parallelism, so its totals are divided by
the number of cards, the kindest reading.
"""

from __future__ import annotations

import functools
import json
import struct
from collections.abc import Callable
from typing import Any

from benchmarks.memory.peers.case import GIB, Case, Prediction, given_cache
from benchmarks.peers import Refused

NAME = "hf-mem"
VERSION = "0.5.6"
LICENCE = "MIT"
SOURCE = "https://github.com/alvarobartt/hf-mem"
PACKAGES = ("hf-mem==0.5.6",)
FED = (
    "checkpoint bytes and config.json through its own reader; KV type as the row states it; totals divided by the cards"
)


def predict(case: Case) -> Prediction:
    """Run ``hf_mem.run`` on a hub that holds this one model."""
    import httpx2
    from hf_mem.run import run

    if case.checkpoint_bytes is None:
        raise Refused("bytes of the checkpoint not known")
    plain = httpx2.AsyncClient
    httpx2.AsyncClient = functools.partial(plain, transport=httpx2.MockTransport(functools.partial(_hub, case)))
    dtype = "fp8" if case.kv_cache_dtype.startswith("fp8") else "auto"
    ask = functools.partial(run, model_id="org/model", max_model_len=case.max_model_len, kv_cache_dtype=dtype)
    try:
        result = _with_cache_or_without(ask)
    finally:
        httpx2.AsyncClient = plain
    weights = result.memory / case.gpus / GIB
    rate = (result.kv_cache or 0) / case.max_model_len / case.gpus
    tokens, concurrency = given_cache(case, rate)
    return Prediction(weights_gib=weights, kv_tokens=tokens, max_concurrency=concurrency)


def _with_cache_or_without(ask: Callable[..., Any]) -> Any:
    try:
        return ask(experimental=True)
    except RuntimeError:
        # it cannot tell the type of the cache from the quantisation; its weights do not need it
        return ask(experimental=False)


def _hub(case: Case, request: Any) -> Any:
    import httpx2

    path = request.url.path
    if "/tree/" in path:
        files = [{"type": "file", "path": name} for name in ("config.json", "model.safetensors")]
        return httpx2.Response(200, json=files)
    if path.endswith("config.json"):
        return httpx2.Response(200, json=dict(case.config))
    header = json.dumps(_header(case)).encode()
    return httpx2.Response(200, content=struct.pack("<Q", len(header)) + header)


def _header(case: Case) -> dict[str, object]:
    size = case.checkpoint_bytes or 0
    if case.weight_bits >= 16:
        return {"weight": {"dtype": "BF16", "shape": [size // 2], "data_offsets": [0, size]}}
    kind = "F8_E4M3" if case.weight_bits == 8 else "U8"
    return {"weight": {"dtype": kind, "shape": [size], "data_offsets": [0, size]}}
