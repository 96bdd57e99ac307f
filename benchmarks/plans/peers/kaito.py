"""KAITO's rule: the cheapest instance whose GPUs are at least as many as its memory rule asks for."""

from __future__ import annotations

from benchmarks.memory.peers import kaito
from benchmarks.memory.peers.case import Case
from benchmarks.peers import Refused
from benchmarks.plans.peers.question import Checkpoint, Machine, Pick, Question

NAME = "KAITO's rule"
VERSION = kaito.VERSION
LICENCE = kaito.LICENCE
SOURCE = kaito.SOURCE
PACKAGES: tuple[str, ...] = ()
FED = (
    "checkpoint bytes, config.json, its utilisation of 0.84 and its default of 2048 tokens; all GPUs of the instance"
    " are one engine, as it starts them"
)
UTILISATION, TOKENS = 0.84, 2048


def picks(question: Question) -> list[Pick]:
    """Return for every checkpoint the cheapest instance that the rule accepts."""
    found = []
    for checkpoint in question.checkpoints:
        accepted = [machine for machine in question.machines if _fits(checkpoint, machine)]
        if accepted:
            machine = min(accepted, key=lambda one: (one.usd_per_hour, one.instance_type))
            found.append(
                Pick(
                    checkpoint=checkpoint.name,
                    gpu=machine.gpu,
                    tensor_parallel=machine.gpus,
                    instance_type=machine.instance_type,
                    settings={"gpu_memory_utilization": UTILISATION},
                )
            )
    if not found:
        raise Refused("its rule accepts no single instance")
    return found


def _fits(checkpoint: Checkpoint, machine: Machine) -> bool:
    case = Case(
        name=checkpoint.name, model=checkpoint.name, family="", config=checkpoint.config, gpu=machine.gpu,
        total_gib=machine.total_gib, quantisation="", weight_bits=checkpoint.weight_bits,
        tensor_parallel=machine.gpus, pipeline_parallel=1, max_model_len=TOKENS, max_num_seqs=256,
        max_num_batched_tokens=2048, gpu_memory_utilization=UTILISATION, kv_cache_dtype="auto", vllm_version=None,
        parameters=checkpoint.parameters, checkpoint_bytes=checkpoint.bytes, kv_gib=None,
    )  # fmt: skip
    return bool(kaito.predict(case).fits)
