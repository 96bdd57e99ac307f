"""servcalc: roofline with calibrated efficiencies, scheduled by chunks; one GPU, the dense families that it lists."""

from __future__ import annotations

from benchmarks.peers import Refused
from benchmarks.throughput.peers.case import Case, Prediction

NAME = "servcalc"
VERSION = "0.1.0"
LICENCE = "MIT"
SOURCE = "https://github.com/sacom123/servcalc"
PACKAGES = ("servcalc==0.1.0",)
FED = "config.json, its own card of that name (A10 for A10G), the row's max_num_seqs, batched tokens and KV type"
CARDS = {
    "A100-40GB": "A100 40GB", "A100-80GB": "A100 80GB", "A10G": "A10", "B200": "B200", "H100": "H100 80GB",
    "H200": "H200", "L4": "L4", "L40S": "L40S", "RTX-3090": "RTX 3090", "RTX-4090": "RTX 4090", "RTX-5080": "RTX 5080",
    "RTX-5090": "RTX 5090", "RTX-A6000": "RTX A6000", "T4": "T4",
}  # fmt: skip


def predict(case: Case) -> Prediction:
    """Ask for the batch of the row."""
    from servcalc.estimate import estimate
    from servcalc.modes import DoesNotFitError
    from servcalc.profiles import vllm
    from servcalc.workload import Workload
    from vramcalc.arch import UnsupportedModelError

    if case.tensor_parallel > 1:
        raise Refused("one GPU only")
    if case.gpu not in CARDS:
        raise Refused("card not known")
    profile = vllm(
        kv_bits=8 if case.kv_cache_dtype.startswith("fp8") else 16,
        max_seqs=case.max_num_seqs,
        token_budget=case.max_num_batched_tokens,
    )
    work = Workload(case.input_tokens, case.output_tokens, concurrency=(case.batch,))
    try:
        (point,) = estimate(dict(case.config), CARDS[case.gpu], workload=work, profile=profile).points
    except DoesNotFitError as error:
        raise Refused("does not fit by its estimate") from error
    except UnsupportedModelError as error:
        raise Refused("model type not supported") from error
    return Prediction(
        output_tok_s=point.total_tok_s.mid,
        output_tok_s_low=point.total_tok_s.low,
        output_tok_s_high=point.total_tok_s.high,
        tpot_ms=point.itl_ms.mid,
        ttft_ms=point.ttft_ms.mid if point.ttft_ms else None,
    )
