"""AIConfigurator: measured kernels, composed and interpolated; asked for single points of aggregated serving."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from benchmarks.peers import Refused
from benchmarks.throughput.peers.case import Case, Prediction

NAME = "AIConfigurator"
VERSION = "0.12.0"
LICENCE = "Apache-2.0"
SOURCE = "https://github.com/ai-dynamo/aiconfigurator"
PACKAGES = ("aiconfigurator==0.12.0",)
FED = (
    "config.json in a folder, its system of that card, its newest vLLM database, the row's TP and EP, and its batch,"
    " halved until it fits by its own estimate"
)
OWN_SOURCES = ("ai-dynamo/aiconfigurator",)
"""Sources of points that its authors collected and tune it on."""
SYSTEMS = {
    "A100-40GB": "a100_sxm", "A100-80GB": "a100_sxm", "B200": "b200_sxm", "B300": "b300_sxm", "H100": "h100_sxm",
    "H200": "h200_sxm", "L40S": "l40s", "RTX-PRO-6000": "rtx_pro_6000_server",
}  # fmt: skip

NO_ROOM = "does not fit by its estimate"
REASONS = {
    "OOM": NO_ROOM, "not supported": "model class or precision not supported",
}  # fmt: skip
"""What its messages hold, and what the page calls it."""


def predict(case: Case) -> Prediction:
    """Ask for one point; where its estimate has no room for the batch, for the largest half of it that fits.

    Requests beyond that wait in the engine, and it says nothing of their time to the first token.
    """
    from aiconfigurator.cli.api import cli_estimate

    if case.gpu not in SYSTEMS:
        raise Refused("card without data")
    split = {}
    if case.mixture:
        experts = case.tensor_parallel if case.expert_parallel else 1
        split = {"moe_ep_size": experts, "moe_tp_size": case.tensor_parallel // experts}
    batch = case.batch
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(dict(case.config)), encoding="utf-8")
        while True:
            try:
                found = cli_estimate(
                    model_path=folder,
                    system_name=SYSTEMS[case.gpu],
                    backend_name="vllm",
                    isl=case.input_tokens,
                    osl=case.output_tokens,
                    batch_size=batch,
                    tp_size=case.tensor_parallel,
                    kvcache_quant_mode="fp8" if case.kv_cache_dtype.startswith("fp8") else None,
                    **split,
                )
                break
            except Exception as error:
                reason = _reason(error, folder)
                if reason != NO_ROOM or batch == 1:
                    raise Refused(reason) from error
                batch //= 2
    return Prediction(
        output_tok_s=float(found.raw["seq/s"]) * case.output_tokens,
        tpot_ms=float(found.tpot),
        ttft_ms=float(found.ttft) if batch == case.batch else None,
    )


def _reason(error: Exception, folder: str) -> str:
    """Return the start of its message: the same for rows that fail alike."""
    text = " ".join(str(error.__cause__ or error).replace(folder, "the config").split())
    for part, reason in REASONS.items():
        if part in text:
            return reason
    return f"{type(error).__name__}: {text}"[:60]
