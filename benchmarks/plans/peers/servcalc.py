"""servcalc: capacity of one card; the most users within both targets, and as many cards as the traffic then needs."""

from __future__ import annotations

import math

from benchmarks.peers import Refused
from benchmarks.plans.peers.question import Checkpoint, Pick, Question
from benchmarks.throughput.peers.servcalc import CARDS

NAME = "servcalc"
VERSION = "0.1.0"
LICENCE = "MIT"
SOURCE = "https://github.com/sacom123/servcalc"
PACKAGES = ("servcalc==0.1.0",)
FED = (
    "config.json (FP8 as its `--quant fp8`), every card that it knows, its vLLM profile and steps of concurrency; the"
    " most requests in flight whose TTFT and time per token are within the objectives, replicas by its tokens/s there"
)
CONCURRENCY = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def picks(question: Question) -> list[Pick]:
    """Ask for every checkpoint on every card."""
    from servcalc.modes import DoesNotFitError
    from vramcalc.arch import UnsupportedModelError

    found, reason = [], "no card meets the targets by its figures"
    for checkpoint in question.checkpoints:
        for gpu in sorted({machine.gpu for machine in question.machines} & CARDS.keys()):
            try:
                rate = _requests_per_s(question, checkpoint, gpu)
            except DoesNotFitError:
                continue
            except UnsupportedModelError:
                reason = "model type not supported"
                continue
            if rate:
                replicas = math.ceil(question.requests_per_s / rate)
                found.append(Pick(checkpoint=checkpoint.name, gpu=gpu, tensor_parallel=1, replicas=replicas))
    if not found:
        raise Refused(reason)
    return found


def _requests_per_s(question: Question, checkpoint: Checkpoint, gpu: str) -> float:
    from servcalc.estimate import estimate
    from servcalc.profiles import vllm, with_quant
    from servcalc.workload import Workload

    config = {key: value for key, value in checkpoint.config.items() if key != "quantization_config"}
    profile = with_quant(vllm(), "fp8") if checkpoint.weight_bits == 8 else vllm()
    work = Workload(question.input_tokens, question.output_tokens, concurrency=CONCURRENCY)
    rates = [
        point.total_tok_s.mid / question.output_tokens
        for point in estimate(config, CARDS[gpu], workload=work, profile=profile).points
        if point.itl_ms.mid <= question.tpot_ms and point.ttft_ms and point.ttft_ms.mid <= question.ttft_ms
    ]
    return max(rates, default=0.0)
