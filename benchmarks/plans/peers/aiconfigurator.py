"""AIConfigurator: its search for the fewest GPUs that serve a request rate within TTFT and TPOT targets."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.peers import Refused
from benchmarks.plans.peers.question import Checkpoint, Pick, Question

NAME = "AIConfigurator"
VERSION = "0.12.0"
LICENCE = "Apache-2.0"
SOURCE = "https://github.com/ai-dynamo/aiconfigurator"
PACKAGES = ("aiconfigurator==0.12.0",)
FED = (
    "config.json in a folder, request rate, mean lengths, both targets; its `recommend` mode for aggregated vLLM on"
    " each of its systems that AWS rents; its first choice for each"
)
SYSTEMS = {
    "A100-80GB": "a100_sxm", "B200": "b200_sxm", "B300": "b300_sxm", "H100": "h100_sxm", "H200": "h200_sxm",
    "L4": "l4", "L40S": "l40s", "RTX-PRO-6000": "rtx_pro_6000_server",
}  # fmt: skip


def picks(question: Question) -> list[Pick]:
    """Ask for every checkpoint on every system; what misses a target by its own figures is no pick."""
    rented, found, reasons = {machine.gpu for machine in question.machines}, [], set()
    for checkpoint in question.checkpoints:
        for gpu in sorted(rented & SYSTEMS.keys()):
            try:
                found.append(_pick(question, checkpoint, gpu))
            except (Exception, SystemExit) as error:
                reasons.add(" ".join(str(error).split())[:60])
    if not found:
        raise Refused("no system meets the targets by its figures: " + "; ".join(sorted(reasons)))
    return found


def _pick(question: Question, checkpoint: Checkpoint, gpu: str) -> Pick:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(dict(checkpoint.config)), encoding="utf-8")
        row = _recommended(folder, question, SYSTEMS[gpu])
    if row["ttft"] > question.ttft_ms or row["tpot"] > question.tpot_ms:
        raise Refused("misses a target by its own figures")
    wide = int(row["moe_ep"]) > 1
    return Pick(
        checkpoint=checkpoint.name,
        gpu=gpu,
        tensor_parallel=int(row["tp"]) * int(row["dp"]),
        pipeline_parallel=int(row["pp"]),
        replicas=int(row["replicas_needed"]),
        settings={"enable_expert_parallel": True} if wide else {},
    )


def _recommended(folder: str, question: Question, system: str) -> Any:
    """Return the first row of ``recommend``; the prefill and decode on separate engines are not asked for."""
    from aiconfigurator.cli import api
    from aiconfigurator.sdk.perf_database import load_system_spec

    gpus = load_system_spec(system)["node"]["num_gpus_per_node"]
    tasks = api.build_default_tasks(
        model_path=folder,
        total_gpus=gpus,
        system=system,
        backend="vllm",
        database_mode="HYBRID",
        serving_mode="agg",
        isl=question.input_tokens,
        osl=question.output_tokens,
        ttft=question.ttft_ms,
        tpot=question.tpot_ms,
    )
    tasks = api._build_recommend_tasks(tasks, gpus)
    found = api._execute_and_wrap_result(tasks, mode="default", target_request_rate=question.requests_per_s)
    if "agg" not in found.best_configs:
        raise Refused("no configuration of its own")
    return found.best_configs["agg"].iloc[0]
