"""Fit the constants of the memory estimate on recorded start-ups, and report the error on the other side.

The rows are split by family and source (never by row); constants are medians over the fitted side, the spread
comes from the residuals of the other side. Writes sizing/catalogue/constants.json with provenance and prints
the errors of the side that was not fitted. Run: ``python -m benchmarks.fit_memory [--dry-run]``.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from sizing.catalogue import load_catalogue
from sizing.engine import resolve_engine, version_rules
from sizing.errors import BadInput
from sizing.inputs import EngineOverrides
from sizing.memory import GIB, captured_sizes, estimate_memory
from sizing.model import ModelSpec, model_from_config
from sizing.plan import EngineSettings, MemoryEstimate

HERE = Path(__file__).resolve().parent
CONSTANTS = HERE.parent / "sizing" / "catalogue" / "constants.json"
HELD_OUT_SHARE = 0.4
LEAST_ROWS = 5
"""Below this many fitted rows a constant keeps its recorded value, and its provenance says so."""
GRAPH_FAMILIES = ("dense-gqa", "dense-mha", "moe", "multimodal")
# Cards that the catalogue names otherwise or lacks: entry with the same defaults, CUDA total if not its own.
STANDS_FOR: Mapping[str, tuple[str, float | None]] = {
    "H100-80GB": ("H100", None), "RTX PRO 6000": ("RTX-PRO-6000", None), "RTX 3090": ("RTX-3090", None),
    "RTX 4090": ("RTX-4090", None), "RTX 5090": ("RTX-5090", None), "H100-NVL-94GB": ("H100", 93.1),
}  # fmt: skip
SHAPE_KEYS = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size",
    "vocab_size", "tie_word_embeddings", "max_position_embeddings",
)  # fmt: skip
QUANTISATIONS: Mapping[str, dict[str, object] | None] = {
    "none": None,
    "awq_marlin": {"quant_method": "awq", "bits": 4, "group_size": 128},
    "fp8": {"quant_method": "fp8", "weight_block_size": [128, 128]},
    "compressed-tensors-fp8-block": {"quant_method": "fp8", "weight_block_size": [128, 128]},
}
# From the notes of vLLM's own source and single logs, where this data has no row (facts kept with their source).
NOT_IN_DATA = {
    "activation_hidden_copies": (4.0, "residual, normed copy, attention output and MLP output of one layer"),
    "flashinfer": (4.1, "the one log with FlashInfer before 0.19: 0.59 GiB at 1024 sequences x 151936"),
    "context_gib": (0.5, "CUDA context beside the budget: free at start against total in start-up logs"),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparable start-up with the description of its model and the settings it ran with."""

    facts: Mapping[str, Any]
    model: ModelSpec
    engine: EngineSettings
    total_gib: float
    estimate: MemoryEstimate
    fitted: bool

    def measured(self, key: str) -> float | None:
        """Return one measured figure, None where the log did not print it."""
        value = self.facts["measured"].get(key)
        return None if value is None else float(value)

    @property
    def rest_gib(self) -> float | None:
        """What is neither weights nor cache: activation, non-torch and graphs inside the budget."""
        weights, cache = self.measured("weights_gib_per_gpu"), self.measured("available_kv_gib")
        if weights is None or cache is None or "kv-gib" not in self.facts["usable_for"]:
            return None
        return self.total_gib * self.engine.gpu_memory_utilization - weights - cache


def is_fitted(facts: Mapping[str, Any]) -> bool:
    """Say on which side of the split a row falls: by a hash of its family and source."""
    digest = hashlib.sha256(f"{facts['family']} {facts['source_url']}".encode()).digest()
    return digest[0] / 256 >= HELD_OUT_SHARE


def read_rows() -> tuple[list[Row], dict[str, int]]:
    """Return the rows that can be compared, and how many were left out for which reason."""
    shapes = json.loads((HERE / "data" / "model-shapes.json").read_text(encoding="utf-8"))["models"]
    left_out: dict[str, int] = {}
    rows = []
    for line in (HERE / "data" / "memory-logs.jsonl").read_text(encoding="utf-8").splitlines():
        facts = json.loads(line)
        try:
            rows.append(_row(facts, shapes.get(facts["model"], {})))
        except BadInput as error:
            reason = error.where if error.where.startswith("left out") else f"refused: {error.where}"
            left_out[reason] = left_out.get(reason, 0) + 1
    return rows, dict(sorted(left_out.items()))


def _row(facts: Mapping[str, Any], shape: Mapping[str, Any]) -> Row:
    if facts["engine"] != "V1":
        raise BadInput("left out: V0", facts["id"])
    if facts["quantization"] not in QUANTISATIONS:
        raise BadInput("left out: quantisation", str(facts["quantization"]))
    if facts["enable_lora"]:
        raise BadInput("left out: LoRA slots", facts["id"])
    catalogue = load_catalogue()
    name, stands_for_gib = STANDS_FOR.get(facts["gpu_type"], (facts["gpu_type"], None))
    gpu = catalogue.gpu(name)
    model = model_from_config(_config(facts, shape), name=facts["model"])
    total = float(facts["gpu_total_gib_reported"] or stands_for_gib or gpu.total_gib)
    stated = {key: facts[key] for key in ("max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization")}
    engine = resolve_engine(model, gpu, EngineOverrides(
        max_model_len=min(facts["max_model_len"] or 2048, model.max_position_embeddings), tensor_parallel=facts["tp"],
        pipeline_parallel=facts["pp"] or 1, enforce_eager=bool(facts["enforce_eager"]),
        vllm_version=facts["vllm_version"] or "0.10.0", **stated,
    ), gpu_total_gib=total)  # fmt: skip
    estimate = estimate_memory(model, gpu, engine, gpu_total_gib=total)
    return Row(facts=facts, model=model, engine=engine, total_gib=total, estimate=estimate, fitted=is_fitted(facts))


def _config(facts: Mapping[str, Any], shape: Mapping[str, Any]) -> dict[str, object]:
    config = {key: shape.get(key) for key in SHAPE_KEYS}
    moe = shape.get("moe") or {}
    return {
        **config,
        "architectures": [shape.get("architecture")],
        "torch_dtype": "bfloat16",
        "quantization_config": QUANTISATIONS[facts["quantization"]],
        "num_experts": moe.get("num_experts"),
        "num_experts_per_tok": moe.get("experts_per_tok"),
        "moe_intermediate_size": moe.get("moe_intermediate_size"),
        "shared_expert_intermediate_size": moe.get("shared_expert_intermediate_size"),
    }


def _sampler_bytes(rows: Iterable[Row], sampler: str) -> list[float]:
    """Bytes per sequence and vocabulary entry where the sampler is the peak: printed figures, else derived ones."""
    printed, derived = [], []
    for row in rows:
        if version_rules(row.engine.vllm_version).sampler != sampler or row.engine.max_num_seqs < 128:
            continue
        cells = row.engine.max_num_seqs * row.model.vocab_size
        activation, inside = row.measured("peak_activation_gib"), row.estimate.cuda_graph_gib
        if activation is not None and activation > 1.3 * _forward_gib(row):
            printed.append(activation * GIB / cells)
        elif activation is None and row.rest_gib is not None:
            rest = row.rest_gib - row.estimate.non_torch_gib - (inside if sampler == "fused" else 0.0)
            derived += [rest * GIB / cells] if rest > 1.3 * _forward_gib(row) else []
    return printed or derived


def _forward_gib(row: Row) -> float:
    peak = next(figure for figure in row.estimate.figures if figure.name == "peak_activation_gib")
    return float(peak.inputs["forward_gib"])


def _non_torch(all_facts: Iterable[Mapping[str, Any]]) -> dict[str, tuple[float, int]]:
    """Median GiB beside the torch allocator by tensor parallel size, any family: it does not depend on the model."""
    seen: dict[int, list[float]] = {}
    for facts in all_facts:
        measured = facts["measured"]
        value = measured.get("non_torch_gib")
        if value is None and measured.get("consumed_gib") and measured.get("weights_gib_per_gpu"):
            value = measured["consumed_gib"] - measured["weights_gib_per_gpu"]
        if value is not None and value > 0 and facts["engine"] == "V1" and is_fitted(facts):
            seen.setdefault(facts["tp"], []).append(value)
    return {str(tp): (median(values), len(values)) for tp, values in sorted(seen.items())}


def _graphs(all_facts: Iterable[Mapping[str, Any]], where: str) -> tuple[float, float, int]:
    """Least absolute deviations of the graph figures over the number of captured sizes: base, slope, rows.

    Inside the budget vLLM takes its own estimate, outside the graphs' real size counts.
    """
    key = "cudagraph_estimated_gib" if where == "inside" else "cuda_graph_gib"
    points = []
    for facts in all_facts:
        value = facts["measured"].get(key)
        left_out = facts["engine"] != "V1" or facts["family"] not in GRAPH_FAMILIES or not is_fitted(facts)
        if value is not None and value > 0 and not left_out:
            points.append((captured_sizes(facts["max_num_seqs"] or 256), value))
    grid = [(base / 100, slope / 1000) for base in range(31) for slope in range(31)]

    def loss(line: tuple[float, float]) -> float:
        return sum(abs(line[0] + line[1] * count - value) for count, value in points)

    base, slope = min(grid, key=lambda line: (loss(line), line))
    return base, slope, len(points)


def fit(rows: list[Row], all_facts: list[Mapping[str, Any]], current: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document constants.json; a constant without a fitted row keeps its recorded value, and says so."""
    fitted = [row for row in rows if row.fitted]
    provenance: dict[str, str] = {key: f"not fitted: {why}" for key, (_, why) in NOT_IN_DATA.items()}
    sampler = {"flashinfer": NOT_IN_DATA["flashinfer"][0]}
    for name in ("pytorch", "fused"):
        found = _sampler_bytes(fitted, name) or [current["sampler_bytes_per_sequence_and_vocabulary"][name]]
        sampler[name] = round(median(found), 1)
        provenance[f"sampler.{name}"] = f"median of {len(found)} rows"
    non_torch = {key: float(value) for key, value in current["non_torch_gib_by_tensor_parallel"].items()}
    for tp, (value, count) in _non_torch(all_facts).items():
        if tp in non_torch:
            non_torch[tp] = round(value, 3)
            provenance[f"non_torch.{tp}"] = f"median of {count} rows, any family"
    for tp in sorted(set(non_torch) - {key.split(".")[1] for key in provenance if key.startswith("non_torch.")}):
        provenance[f"non_torch.{tp}"] = (
            "no row on the fitted side: single start-up logs (TP2 0.54 on H100, TP4 0.40-0.95, TP8 1.74 on H200)"
        )
    graphs = {}
    for where in ("inside", "outside"):
        base, slope, count = _graphs(all_facts, where)
        graphs[where] = {"base": base, "per_captured_size": slope}
        provenance[f"cuda_graph_gib.{where}"] = f"least absolute deviations over {count} rows with full attention"
        if count < LEAST_ROWS:
            graphs[where] = dict(current["cuda_graph_gib"][where])
            provenance[f"cuda_graph_gib.{where}"] = (
                f"only {count} fitted rows; through the estimates in the logs: 0.13-0.15 GiB at 16 to 64 sequences, "
                "0.65 at 256"
            )
    return {
        "source": "fitted on benchmarks/data/memory-logs.jsonl, the side of the split that is not reported",
        "date": current["date"],
        "refresh": "python -m benchmarks.fit_memory",
        "sampler_bytes_per_sequence_and_vocabulary": sampler,
        **{key: value for key, (value, _) in NOT_IN_DATA.items() if key != "flashinfer"},
        "non_torch_gib_by_tensor_parallel": non_torch,
        "cuda_graph_gib": graphs,
        "spread": current["spread"],
        "provenance": dict(sorted(provenance.items())),
    }


def _errors(rows: Iterable[Row], term: Callable[[Row], tuple[float, float, float] | None]) -> list[float]:
    """Absolute errors of one term over the scale it is judged by."""
    found = [values for row in rows if (values := term(row)) is not None]
    return sorted(abs(predicted - measured) / scale for predicted, measured, scale in found)


def _weights(row: Row) -> tuple[float, float, float] | None:
    measured = row.measured("weights_gib_per_gpu")
    return (row.estimate.weights_gib, measured, measured) if measured and "weights" in row.facts["usable_for"] else None


def _activation(row: Row) -> tuple[float, float, float] | None:
    measured = row.measured("peak_activation_gib")
    return (row.estimate.peak_activation_gib, measured, measured) if measured else None


def _cache(row: Row) -> tuple[float, float, float] | None:
    measured = row.measured("available_kv_gib")
    usable = "kv-gib" in row.facts["usable_for"] and row.facts["vllm_version"]
    return (row.estimate.kv_cache_gib, measured, row.total_gib) if measured and usable else None


def cache_is_inside(row: Row) -> bool:
    """Say whether the measured cache lies between the predicted p10 and p90."""
    interval = row.estimate.kv_cache_gib_interval
    return interval.p10 <= float(row.measured("available_kv_gib") or 0.0) <= interval.p90


def _tokens(row: Row) -> tuple[float, float, float] | None:
    """Tokens from the measured cache: tests the bytes per token and the block rounding alone."""
    tokens, cache = row.measured("kv_tokens"), row.measured("available_kv_gib")
    if not tokens or not cache or "kv-tokens" not in row.facts["usable_for"]:
        return None
    rate = row.estimate.kv_cache_gib / max(row.estimate.kv_tokens, 1)
    return (cache / rate, tokens, tokens) if row.estimate.kv_tokens > 10_000 else None


def _quantile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, math.ceil(share * len(values)) - 1)] if values else float("nan")


def report(rows: list[Row], left_out: Mapping[str, int]) -> None:
    """Print the errors of the side that was not fitted, and of all rows beside it."""
    held = [row for row in rows if not row.fitted]
    print(f"rows compared {len(rows)}, of which not fitted {len(held)}")
    for reason, count in left_out.items():
        print(f"  {reason}: {count}")
    terms = {"weights": _weights, "activation": _activation, "KV GiB / card": _cache, "tokens given GiB": _tokens}
    for name, term in terms.items():
        for side, chosen in (("not fitted", held), ("all", rows)):
            errors = _errors(chosen, term)
            half, most = _quantile(errors, 0.5), _quantile(errors, 0.9)
            print(f"{name:18} {side:10} n {len(errors):3}  median {half:7.2%}  p90 {most:7.2%}")
    inside = [cache_is_inside(row) for row in held if _cache(row) is not None]
    print(f"p10-p90 of the KV cache holds {sum(inside)} of {len(inside)} rows that were not fitted")
    for row in rows:
        if (values := _cache(row)) is not None and "-v" in sys.argv:
            spread, side = row.estimate.kv_cache_gib_interval, "fitted" if row.fitted else "held out"
            figures = f"{values[0]:7.2f} [{spread.p10:7.2f}, {spread.p90:7.2f}] measured {values[1]:7.2f}"
            print(f"  {row.facts['id'][:60]:60} {side:8} KV {figures}")
    wrong = [row.facts["id"] for row in rows if "fits-no" in row.facts["usable_for"] and row.estimate.fits]
    refused = [row.facts["id"] for row in rows if "fits-yes" in row.facts["usable_for"] and not row.estimate.fits]
    for row in rows:
        if row.facts["id"] in {*wrong, *refused}:
            print(f"  {row.facts['id']}: {row.estimate.binding}, KV {row.estimate.kv_cache_gib:.2f} GiB")
    print(f"false fits {wrong}; successful starts refused {refused}")


def main() -> None:
    """Fit, write and report; the report uses the constants as written by the last run."""
    rows, left_out = read_rows()
    all_facts = [json.loads(line) for line in (HERE / "data" / "memory-logs.jsonl").read_text("utf-8").splitlines()]
    current = json.loads(CONSTANTS.read_text(encoding="utf-8"))
    document = fit(rows, all_facts, current)
    if "--dry-run" not in sys.argv:
        CONSTANTS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        load_catalogue.cache_clear()
        rows, left_out = read_rows()
    print(json.dumps(document, indent=1))
    report(rows, left_out)


if __name__ == "__main__":
    main()
