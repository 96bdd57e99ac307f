"""llm-sizer: weights + 2 x layers x hidden x tokens x users, both at the bytes of one weight.

Its catalogue holds 18 models; the shape of every other model is handed to its own function. Users: 1.
"""

from __future__ import annotations

from benchmarks.memory.peers.case import GIB, Case, Prediction, given_cache
from benchmarks.peers import Refused

NAME = "llm-sizer"
VERSION = "0.1.0"
LICENCE = "MIT"
SOURCE = "https://github.com/saheb26/llm-sizer"
PACKAGES = ("llm-sizer==0.1.0",)
FED = "parameters, layers and hidden size to its function; one user of max_model_len; divided by the cards"
QUANTS = {16: "bf16", 8: "q8", 4: "q4"}


def predict(case: Case) -> Prediction:
    """Run its function on the shape and hold the total against all cards."""
    from llm_sizer.catalog import ModelSpec, resolve_quant
    from llm_sizer.sizing import estimate_vram

    if case.parameters is None:
        raise Refused("parameters not known")
    text = case.text
    spec = ModelSpec(case.model, float(case.parameters), text["num_hidden_layers"], text["hidden_size"])
    found = estimate_vram(spec, resolve_quant(QUANTS[case.weight_bits]), case.max_model_len, 1)
    tokens, concurrency = given_cache(case, found.kv_cache_bytes / case.max_model_len / case.gpus)
    return Prediction(
        weights_gib=found.weights_bytes / case.gpus / GIB,
        kv_tokens=tokens,
        max_concurrency=concurrency,
        fits=found.total_bytes <= case.gpus * case.total_gib * GIB,
    )
