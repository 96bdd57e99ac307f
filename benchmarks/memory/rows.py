"""Recorded start-ups as comparable cases: the model, card and settings of each row, and what it may be compared for.

A row is described by the real ``config.json`` of its model (``data/configs``) and its own settings. It is left out,
with the reason counted, when its log does not state what a comparison needs, when it ran with something that is no
setting of the estimate (weights in host memory, a draft model that is not described), or when sizing refuses it.
Rows of V0 count for weights and for identities of the cache only. The split is by source within every family, never
by row, and reads no measurement.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from benchmarks.folders import DATA
from sizing.catalogue import Gpu, load_catalogue
from sizing.catalogue.files import dated_file
from sizing.engine.settings import resolve_engine
from sizing.engine.versions import version_rules, version_tuple
from sizing.errors import BadInput
from sizing.inputs import EngineOverrides
from sizing.memory.estimate import estimate_memory
from sizing.memory.kv_cache import PLAIN_FP8
from sizing.models.from_config import model_from_config
from sizing.models.quantisation.config import online_quantisation
from sizing.models.spec import ModelSpec
from sizing.plan import EngineSettings, MemoryEstimate

HELD_OUT_SHARE = 0.4
IDENTITIES = ("weights", "kv-bytes", "kv-tokens", "concurrency")
"""What a start of V0 may be compared for: its profile run and its graphs were others."""
BY_VERSION = ("kv-gib", "concurrency", "fits-yes", "fits-no", "activation")
"""What depends on the rules of a version, so that a row must state it."""
FULL_LENGTH = ("dense-gqa", "dense-mha", "moe", "multimodal", "mla")
"""Families whose every layer keeps every token: how many requests fit does not depend on the version."""
STANDS_FOR: Mapping[str, tuple[str, float | None]] = {"H100-NVL-94GB": ("H100-NVL", 93.1)}
"""Cards whose logs print another total than the lowest one, which the catalogue plans with."""
IN_FLIGHT: Mapping[str, Mapping[str, object]] = {
    "fp8": {"quant_method": "fp8", "activation_scheme": "dynamic"},
    "bitsandbytes": {
        "quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
    },
    "experts_int8": {"quant_method": "experts_int8"},
}  # fmt: skip
"""What ``--quantization`` makes of a checkpoint in 16 bits while it is loaded, in the form of a quantization_config."""
DRAFTS = {"mtp": "mtp", "ngram": "ngram"}
IN_HOST_MEMORY = ("cpu_offload_gb", "PLE_CPU_OFFLOAD=1")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparable start-up with the description of its model, card and settings, and our estimate of it."""

    facts: Mapping[str, Any]
    model: ModelSpec
    gpu: Gpu
    engine: EngineSettings
    total_gib: float
    estimate: MemoryEstimate
    fitted: bool

    def measured(self, key: str) -> float | None:
        """Return one measured figure, None where the log did not print it."""
        value = self.facts["measured"].get(key)
        return None if value is None else float(value)

    def usable(self, purpose: str) -> bool:
        """Say whether the row can honestly be compared for ``purpose`` (weights, kv-bytes, kv-gib and so on)."""
        return purpose in comparable_for(self.facts)

    @property
    def rest_gib(self) -> float | None:
        """What is neither weights nor cache: activation, non-torch and graphs inside the budget."""
        weights, cache = self.measured("weights_gib_per_gpu"), self.measured("available_kv_gib")
        if weights is None or cache is None or not self.usable("kv-gib"):
            return None
        return self.total_gib * self.engine.gpu_memory_utilization - weights - cache


def source_of(facts: Mapping[str, Any]) -> str:
    """Return who measured a row: the repository of a committed file, else the page; the row itself where unknown."""
    return str(facts["source_url"] or facts["id"]).split("/blob/", maxsplit=1)[0]


def is_fitted(facts: Mapping[str, Any]) -> bool:
    """Say on which side of the split a row falls."""
    return (facts["family"], source_of(facts)) not in _held_out()


@lru_cache(maxsize=1)
def _held_out() -> frozenset[tuple[str, str]]:
    """Return the pairs of family and source that are not fitted.

    In every family the sources stand in the order of their hash and are held out until they carry the share of the
    comparisons (rows times what each is usable for); one that would hold out more than the other side keeps is
    passed over. A family with a single source is not fitted: its errors are those of rules that never saw it.
    """
    counts: dict[str, dict[str, int]] = {}
    for facts in read_facts():
        sources = counts.setdefault(facts["family"], {})
        carried = set(comparable_for(facts)) & set(facts["usable_for"])
        sources[source_of(facts)] = sources.get(source_of(facts), 0) + len(carried)
    held = set()
    for family, sources in counts.items():
        comparisons, taken = sum(sources.values()), 0
        for source in sorted(sources, key=lambda name: hashlib.sha256(f"{family} {name}".encode()).digest()):
            wanted = taken < HELD_OUT_SHARE * comparisons
            room = taken + sources[source] <= (1 - HELD_OUT_SHARE) * comparisons
            if len(sources) == 1 or (wanted and room):
                held.add((family, source))
                taken += sources[source]
    return frozenset(held)


def comparable_for(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a row can be compared for: its ``usable_for`` less what its engine and version do not allow.

    ``activation`` is added where a start of V1 that can be compared at all printed it.
    """
    purposes = tuple(facts["usable_for"])
    if purposes and facts["measured"].get("peak_activation_gib"):
        purposes = (*purposes, "activation")
    if facts["engine"] != "V1":
        purposes = tuple(purpose for purpose in purposes if purpose in IDENTITIES)
    if version_of(facts) is None:
        exempt = ("concurrency",) if facts["family"] in FULL_LENGTH else ()
        purposes = tuple(purpose for purpose in purposes if purpose not in BY_VERSION or purpose in exempt)
    return purposes


def version_of(facts: Mapping[str, Any]) -> str | None:
    """Return the vLLM version of a row: as printed, or the first of the range that its notes state; None if neither."""
    for text in (facts["vllm_version"] or "", *re.findall(r"\(v(\d+\.\d+)-v\d+\.\d+ era\)", facts["notes"] or "")):
        try:
            version_tuple(text)
        except BadInput:
            continue
        return str(text)
    return None


@lru_cache(maxsize=1)
def configurations() -> Mapping[str, Mapping[str, Any]]:
    """Return the documents of ``data/configs`` by the model that the rows name."""
    documents = (json.loads(path.read_text(encoding="utf-8")) for path in sorted((DATA / "configs").glob("*.json")))
    return {document["model"]: document for document in documents}


def read_facts() -> list[Mapping[str, Any]]:
    """Return the rows of the logs as recorded."""
    return [json.loads(line) for line in (DATA / "memory-logs.jsonl").read_text(encoding="utf-8").splitlines()]


def read_rows() -> tuple[list[Row], dict[str, int]]:
    """Return the rows that can be compared, and how many were left out for which reason."""
    rows, left_out = [], dict[str, int]()
    for facts in read_facts():
        try:
            rows.append(row_of(facts))
        except BadInput as error:
            reason = error.where if error.where.startswith("left out") else _refusal(error)
            left_out[reason] = left_out.get(reason, 0) + 1
    return rows, dict(sorted(left_out.items()))


def by_side(rows: Iterable[Row]) -> dict[str, tuple[int, int]]:
    """Return for each family how many rows were fitted and how many were not."""
    counts: dict[str, tuple[int, int]] = {}
    for row in rows:
        fitted, held = counts.get(row.facts["family"], (0, 0))
        counts[row.facts["family"]] = (fitted + row.fitted, held + (not row.fitted))
    return dict(sorted(counts.items()))


def row_of(facts: Mapping[str, Any]) -> Row:
    """Return one row as a case; BadInput says why it is left out, or what sizing refuses about it."""
    _check(facts)
    gpu, total = card(facts)
    model = described(facts)
    engine = resolve_engine(model, gpu, settings(facts, model), gpu_total_gib=total)
    if facts["kv_cache_dtype"] == PLAIN_FP8:
        engine = replace(engine, kv_cache_dtype=PLAIN_FP8)
    estimate = estimate_memory(model, gpu, engine, gpu_total_gib=total)
    return Row(
        facts=facts, model=model, gpu=gpu, engine=engine, total_gib=total, estimate=estimate, fitted=is_fitted(facts)
    )


def card(facts: Mapping[str, Any]) -> tuple[Gpu, float]:
    """Return the GPU of a row and its CUDA total in GiB: as the row reports it, else as the catalogue knows it."""
    name, typical_gib = STANDS_FOR.get(facts["gpu_type"], (facts["gpu_type"], None))
    try:
        gpu = load_catalogue().gpu(name)
    except BadInput:
        raise BadInput("left out: card not known", f"{facts['gpu_type']} of {facts['id']}") from None
    return gpu, float(facts["gpu_total_gib_reported"] or typical_gib or gpu.total_gib)


def described(facts: Mapping[str, Any]) -> ModelSpec:
    """Return the model of a row as it ran: quantised while loading where its flag says so, at its own length."""
    document = configurations().get(facts["model"])
    if document is None:
        raise BadInput("left out: no config.json of the model", facts["model"])
    config = dict(document["config"])
    if document.get("runner") == "pooling":  # vLLM then takes the model without its output head
        config["architectures"] = [name.replace("ForCausalLM", "Model") for name in config["architectures"]]
    model = model_from_config(config, name=facts["model"])
    if config.get("quantization_config") is None and facts["quantization"] in IN_FLIGHT:
        model = replace(model, quantisation=online_quantisation(facts["quantization"]))
    longest = max(model.max_position_embeddings, facts["max_model_len"] or 0)
    return replace(model, max_position_embeddings=longest)


def settings(facts: Mapping[str, Any], model: ModelSpec) -> EngineOverrides:
    """Return the engine settings that a row states; what it leaves out is the default of its version."""
    stated = {
        key: facts[key] for key in ("max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization", "block_size")
    }
    cache = str(facts["kv_cache_dtype"] or "auto")
    return EngineOverrides(
        vllm_version=_rules_version(facts), tensor_parallel=facts["tp"], pipeline_parallel=facts["pp"],
        data_parallel=facts["dp"], max_model_len=facts["max_model_len"] or model.max_position_embeddings,
        kv_cache_dtype="fp8" if cache.startswith("fp8") else "auto", enforce_eager=bool(facts["enforce_eager"]),
        **stated, **_flags(facts), **_draft(facts),
    )  # fmt: skip


def _check(facts: Mapping[str, Any]) -> None:
    """Refuse a row that nothing can be compared with, or that holds weights elsewhere."""
    if not comparable_for(facts):
        raise BadInput("left out: states too little for any comparison", facts["id"])
    if any(flag in (facts["other_flags"] or "") for flag in IN_HOST_MEMORY):
        raise BadInput("left out: parts of the model in host memory", facts["id"])


def _rules_version(facts: Mapping[str, Any]) -> str:
    """Return the version whose rules are those of the row: its own, else the nearest one with the same engine."""
    known = dated_file("engine_defaults")
    first_v1 = next(row["since"] for row in known["versions"] if row["engine"] == "V1")
    stated = version_of(facts)
    if facts["engine"] == "V0":
        inside = stated and version_tuple(known["oldest_version"]) <= version_tuple(stated) < version_tuple(first_v1)
        return str(stated if inside else known["oldest_version"])
    if stated is None:
        return str(known["default_version"])
    return stated if version_tuple(stated) >= version_tuple(first_v1) else str(first_v1)


def _flags(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that stand in ``other_flags``, in the row's name, or behind ``enable_lora``."""
    flags, found = facts["other_flags"] or "", dict[str, Any]()
    if "prefix caching off" in flags:
        found["enable_prefix_caching"] = False
    elif re.search(r"prefix[ _-]caching|mamba_cache_mode=align", flags):
        found["enable_prefix_caching"] = True
    if re.search(r"expert_parallel|\bEP\d", flags):
        found["enable_expert_parallel"] = True
    if "decode_context_parallel_size" in flags and (ranks := re.search(r"dcp(\d+)", facts["id"])):
        found["decode_context_parallel"] = int(ranks[1])
    if facts["enable_lora"]:
        slots, rank = re.search(r"max_loras=(\d+)", flags), re.search(r"rank[ =](\d+)", flags)
        found |= {"max_loras": int(slots[1]) if slots else 1, "max_lora_rank": int(rank[1]) if rank else 16}
    return found


def _draft(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the row speculated; BadInput for a draft model, which the row does not describe."""
    stated = str(facts["spec_decode"] or "").lower()
    if not stated:
        return {}
    method = next((value for name, value in DRAFTS.items() if name in stated), None)
    tokens = re.search(r"(?:n=|tokens'?[:=] ?)(\d+)", stated)
    if method is None or tokens is None:
        raise BadInput("left out: draft model not described", facts["spec_decode"])
    return {"speculative_method": method, "num_speculative_tokens": int(tokens[1])}


def _refusal(error: BadInput) -> str:
    """Name what sizing refuses, without the figures of the single row where they would hide the reason."""
    return f"refused: {error.where.removeprefix('config.json: ')}: {error.problem[:80]}"


def is_v1(row: Row) -> bool:
    """Say whether the row ran the V1 engine, whose profile run the estimate follows."""
    return bool(row.facts["engine"] == "V1" and version_rules(row.engine.vllm_version).engine == "V1")
