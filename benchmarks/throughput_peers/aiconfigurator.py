"""AIConfigurator: measured kernels, composed and interpolated; asked for single points of aggregated serving."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from benchmarks.throughput_peers.case import Case, Prediction, Refused

NAME = "AIConfigurator"
VERSION = "0.12.0"
LICENCE = "Apache-2.0"
SOURCE = "https://github.com/ai-dynamo/aiconfigurator"
PACKAGES = ("aiconfigurator==0.12.0",)
FED = "config.json in a folder, its system of that card, its newest vLLM database, the row's batch, TP and EP"
SYSTEMS = {
    "A100-40GB": "a100_sxm", "A100-80GB": "a100_sxm", "B200": "b200_sxm", "H100": "h100_sxm", "H200": "h200_sxm",
    "L40S": "l40s",
}  # fmt: skip


def predict(case: Case) -> Prediction:
    """Ask ``cli_estimate`` for one point; tokens per second are its requests per second times the output."""
    from aiconfigurator.cli.api import cli_estimate

    if case.gpu not in SYSTEMS:
        raise Refused("card without data")
    split = {}
    if case.mixture:
        experts = case.tensor_parallel if case.expert_parallel else 1
        split = {"moe_ep_size": experts, "moe_tp_size": case.tensor_parallel // experts}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(dict(case.config)), encoding="utf-8")
        try:
            found = cli_estimate(
                model_path=folder,
                system_name=SYSTEMS[case.gpu],
                backend_name="vllm",
                isl=case.input_tokens,
                osl=case.output_tokens,
                batch_size=case.batch,
                tp_size=case.tensor_parallel,
                kvcache_quant_mode="fp8" if case.kv_cache_dtype.startswith("fp8") else None,
                **split,
            )
        except Exception as error:
            raise Refused(_reason(error, folder)) from error
    return Prediction(
        output_tok_s=float(found.raw["seq/s"]) * case.output_tokens,
        tpot_ms=float(found.tpot),
        ttft_ms=float(found.ttft),
    )


def _reason(error: Exception, folder: str) -> str:
    """Return the start of its message: the same for rows that fail alike."""
    text = " ".join(str(error.__cause__ or error).replace(folder, "the config").split())
    if "is not supported" in text or "not supported" in text:
        return "model class or precision not supported"
    return f"{type(error).__name__}: {text}"[:60]
