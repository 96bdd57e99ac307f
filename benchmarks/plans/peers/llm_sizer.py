"""llm-sizer: weights and KV cache of some users, then the cheapest AWS instance whose GPUs hold both."""

from __future__ import annotations

from benchmarks.memory.peers.llm_sizer import QUANTS
from benchmarks.peers import Refused
from benchmarks.plans.peers.question import Checkpoint, Pick, Question

NAME = "llm-sizer"
VERSION = "0.1.0"
LICENCE = "MIT"
SOURCE = "https://github.com/saheb26/llm-sizer"
PACKAGES = ("llm-sizer==0.1.0",)
FED = "parameters, layers and hidden size, its default context of 8k; asked for 1, 8 and 32 users of one replica"
CONTEXT, USERS = 8192, (1, 8, 32)


def picks(question: Question) -> list[Pick]:
    """Ask for every checkpoint and number of users; the GPUs of the instance that it names are one engine."""
    found = [
        pick
        for checkpoint in question.checkpoints
        for users in USERS
        if (pick := _pick(question, checkpoint, users)) is not None
    ]
    if not found:
        raise Refused("no single instance of its list holds it")
    return list({(pick.checkpoint, pick.instance_type): pick for pick in found}.values())


def _pick(question: Question, checkpoint: Checkpoint, users: int) -> Pick | None:
    from llm_sizer.catalog import ModelSpec, cheapest_instance, resolve_quant
    from llm_sizer.sizing import estimate_vram

    shape = checkpoint.config
    spec = ModelSpec(checkpoint.name, float(checkpoint.parameters), shape["num_hidden_layers"], shape["hidden_size"])
    total = estimate_vram(spec, resolve_quant(QUANTS[checkpoint.weight_bits]), CONTEXT, users).total_gb
    instance = cheapest_instance(total)
    sold = {machine.instance_type: machine for machine in question.machines}
    if instance is None or instance.name not in sold:
        return None
    machine = sold[instance.name]
    return Pick(
        checkpoint=checkpoint.name,
        gpu=machine.gpu,
        tensor_parallel=machine.gpus,
        instance_type=machine.instance_type,
    )
