"""Recorded starts as cases for every estimator: one row of the logs, its config, its settings, its measurements."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.memory.peers.case import Case, Prediction
from benchmarks.memory.rows import (
    DATA,
    IN_FLIGHT,
    Row,
    card,
    comparable_for,
    configurations,
    is_fitted,
    read_facts,
    row_of,
)
from sizing.errors import BadInput
from sizing.memory.estimate import estimate_memory
from sizing.plan import MemoryEstimate

HYBRIDS = ("compressed-attention", "linear-attention-hybrid", "mamba-hybrid", "sliding-window-hybrid")
FOUR_BITS = ("awq", "gptq", "bitsandbytes", "mxfp4", "nvfp4", "fp4", "int4", "4bit")
EIGHT_BITS = ("fp8", "int8")
LENGTH, SEQUENCES, TOKENS, UTILISATION = 2048, 256, 2048, 0.9
"""Settings of a row that ours refuses, where the row leaves them out: the defaults of small cards."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """One recorded start: what was measured, what is asked of the estimators, and what ours says."""

    facts: Mapping[str, Any]
    fitted: bool
    case: Case | None = None
    ours: Prediction | None = None
    left_out: str = ""
    """Why there is no case, or why ours refuses it."""

    @property
    def name(self) -> str:
        """Identity of the row."""
        return str(self.facts["id"])

    @property
    def family(self) -> str:
        """Family as the data names it."""
        return str(self.facts["family"])

    def usable(self, purpose: str) -> bool:
        """Say whether the row can honestly be compared for ``purpose``."""
        return purpose in comparable_for(self.facts)

    def measured(self, key: str) -> float | None:
        """Return one measured figure, None where the log did not print it."""
        value = self.facts["measured"].get(key)
        return None if value is None else float(value)


def read_starts() -> list[Start]:
    """Return every row of the logs in their order."""
    shapes = json.loads((DATA / "model-shapes.json").read_text(encoding="utf-8"))["models"]
    return [_start(facts, shapes.get(facts["model"], {})) for facts in read_facts()]


def _start(facts: Mapping[str, Any], shape: Mapping[str, Any]) -> Start:
    """A row that says too little is left out for everybody; one that ours refuses is still asked of the others."""
    fitted = is_fitted(facts)
    try:
        row = row_of(facts)
    except BadInput as error:
        if error.where.startswith("left out"):
            return Start(facts=facts, fitted=fitted, left_out=error.where.removeprefix("left out: "))
        return Start(facts=facts, fitted=fitted, case=_case(facts, shape, None), left_out=f"ours {_reason(error)}")
    case = _case(facts, shape, row)
    return Start(facts=facts, fitted=fitted, case=case, ours=our_prediction(case, row))


def _reason(error: BadInput) -> str:
    return f"refuses it: {error.where.removeprefix('config.json: ')}: {error.problem[:120]}"


def _case(facts: Mapping[str, Any], shape: Mapping[str, Any], row: Row | None) -> Case:
    config = dict(configurations()[facts["model"]]["config"])
    if config.get("quantization_config") is None and facts["quantization"] in IN_FLIGHT:
        config["quantization_config"] = dict(IN_FLIGHT[facts["quantization"]])
    bits = weight_bits(facts)
    # the shapes count the language model alone
    counted = None if facts["family"] == "multimodal" else shape.get("computed_lm_parameters")
    unquantised = counted * 2 if counted and bits == 16 else None
    return Case(
        name=facts["id"],
        model=facts["model"],
        family=facts["family"],
        config=config,
        gpu=facts["gpu_type"],
        total_gib=row.total_gib if row else card(facts)[1],
        quantisation=str(facts["quantization"]),
        weight_bits=bits,
        tensor_parallel=facts["tp"],
        pipeline_parallel=facts["pp"] or 1,
        max_model_len=row.engine.max_model_len if row else facts["max_model_len"] or LENGTH,
        max_num_seqs=row.engine.max_num_seqs if row else facts["max_num_seqs"] or SEQUENCES,
        max_num_batched_tokens=row.engine.max_num_batched_tokens if row else facts["max_num_batched_tokens"] or TOKENS,
        gpu_memory_utilization=(
            row.engine.gpu_memory_utilization if row else facts["gpu_memory_utilization"] or UTILISATION
        ),
        kv_cache_dtype=facts["kv_cache_dtype"] or "auto",
        vllm_version=facts["vllm_version"],
        parameters=row.model.parameters if row else counted,
        checkpoint_bytes=row.model.checkpoint_size() if row else unquantised,
        kv_gib=facts["measured"].get("available_kv_gib"),
    )


def weight_bits(facts: Mapping[str, Any]) -> int:
    """Return the bits of a quantised weight as the names of the method and the checkpoint say it: 4, 8 or 16."""
    method = str(facts["quantization"] or "none").lower()
    names = f"{method} {facts['model']}".lower() if method.startswith("compressed") else method
    if any(word in names for word in FOUR_BITS):
        return 4
    return 8 if any(word in names for word in EIGHT_BITS) else 16


def our_prediction(case: Case, row: Row) -> Prediction:
    """Return our estimate; tokens and requests are those of a card whose cache is the measured one."""
    estimate, spread = row.estimate, row.estimate.kv_cache_gib_interval
    given = _given_cache(case, row)
    return Prediction(
        weights_gib=estimate.weights_gib,
        activation_gib=estimate.peak_activation_gib,
        kv_gib=estimate.kv_cache_gib,
        kv_gib_p10=spread.p10,
        kv_gib_p90=spread.p90,
        kv_tokens=given.kv_tokens if given else None,
        max_concurrency=given.max_concurrency if given else None,
        binding=estimate.binding,
        fits=estimate.fits,
        fits_at_p90=estimate.fits and spread.p10 >= estimate.kv_cache_gib / estimate.max_concurrency,
    )


def _given_cache(case: Case, row: Row) -> MemoryEstimate | None:
    if case.kv_gib is None or case.kv_gib <= 0:
        return None
    missing_gib = (case.kv_gib - row.estimate.kv_cache_gib) / row.engine.gpu_memory_utilization
    return estimate_memory(row.model, row.gpu, row.engine, gpu_total_gib=row.total_gib + missing_gib)
