"""Fit the constants of the memory estimate on recorded start-ups, and report the error on the other side.

The rows are split by family and source (never by row); constants are medians over the fitted side, the spread
comes from the residuals of the other side. Writes sizing/catalogue/constants.json with provenance and prints
the errors of the side that was not fitted. Run: ``python -m benchmarks.memory.fit``, with ``--check`` to print
without writing and ``-v`` for every row.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Any

from benchmarks.folders import CATALOGUE
from benchmarks.memory.rows import Row, by_side, is_fitted, is_v1, read_facts, read_rows
from sizing.catalogue import load_catalogue
from sizing.engine.versions import version_rules
from sizing.memory.terms import captured_sizes
from sizing.units import GIB

__all__ = ["CONSTANTS", "Row", "cache_is_inside", "fit", "is_fitted", "read_rows", "report"]

CONSTANTS = CATALOGUE / "constants.json"
LEAST_ROWS = 5
"""Below this many fitted rows a constant keeps its recorded value, and its provenance says so."""
SAMPLER_KEPT = "no row on the fitted side: Llama-3.1-8B on H100 with 0.19 prints 1.89 GiB at 1024 sequences x 128256"
GRAPH_FAMILIES = ("dense-gqa", "dense-mha", "moe", "multimodal")
SAMPLER_FAMILIES = ("dense-gqa", "dense-mha", "moe")
"""Families whose profile run has no other peak of that size (an encoder, an indexer)."""
# From the notes of vLLM's own source and single logs, where this data has no row (facts kept with their source).
NOT_IN_DATA = {
    "activation_hidden_copies": (4.0, "residual, normed copy, attention output and MLP output of one layer"),
    "flashinfer": (4.1, "the one log with FlashInfer before 0.19: 0.59 GiB at 1024 sequences x 151936"),
    "context_gib": (0.5, "CUDA context beside the budget: free at start against total in start-up logs"),
}


def _sampler_bytes(rows: Iterable[Row], sampler: str) -> list[float]:
    """Bytes per sequence and vocabulary entry where the sampler is the peak: printed figures, else enough derived."""
    printed, derived = [], []
    for row in rows:
        other = row.facts["family"] not in SAMPLER_FAMILIES or not is_v1(row)
        other = other or version_rules(row.engine.vllm_version).sampler != sampler
        if other or row.engine.max_num_seqs < 128:
            continue
        cells = row.engine.max_num_seqs * row.model.vocab_size
        activation, inside = row.measured("peak_activation_gib"), row.estimate.cuda_graph_gib
        if activation is not None and activation > 1.3 * _forward_gib(row):
            printed.append(activation * GIB / cells)
        elif activation is None and row.rest_gib is not None:
            rest = row.rest_gib - row.estimate.non_torch_gib - (inside if sampler == "fused" else 0.0)
            derived += [rest * GIB / cells] if rest > 1.3 * _forward_gib(row) else []
    return printed or (derived if len(derived) >= LEAST_ROWS else [])


def _forward_gib(row: Row) -> float:
    peak = next(figure for figure in row.estimate.figures if figure.name == "peak_activation_gib")
    return float(peak.inputs["forward_gib"])


def _non_torch(all_facts: Iterable[Mapping[str, Any]]) -> dict[str, tuple[float, int]]:
    """Median GiB outside of the torch allocator by tensor parallel size: it does not depend on the model."""
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
        found = _sampler_bytes(fitted, name)
        sampler[name] = round(median(found or [current["sampler_bytes_per_sequence_and_vocabulary"][name]]), 1)
        provenance[f"sampler.{name}"] = f"median of {len(found)} rows" if found else SAMPLER_KEPT
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
        "refresh": "python -m benchmarks.memory.fit",
        "sampler_bytes_per_sequence_and_vocabulary": sampler,
        **{key: value for key, (value, _) in NOT_IN_DATA.items() if key != "flashinfer"},
        "non_torch_gib_by_tensor_parallel": non_torch,
        "cuda_graph_gib": graphs,
        "spread": spread(fitted, current["spread"]),
        "provenance": dict(sorted(provenance.items())),
    }


COVERED = 0.85
"""Share of the fitted side that the interval must hold; what is held of the other side is reported."""


def spread(fitted: Iterable[Row], current: Mapping[str, float]) -> dict[str, float]:
    """Return the spread with its scale set so that the interval holds ``COVERED`` of the fitted rows.

    The parts (a share of each term) are the recorded ones; a row's scale is its error over the half-width at scale 1,
    upwards beyond what a smaller sampler may leave.
    """
    scales = []
    for row in fitted:
        if (values := _cache(row)) is None:
            continue
        interval, error = row.estimate.kv_cache_gib_interval, values[1] - values[0]
        unit = (interval.p50 - interval.p10) / current["scale"]
        leaner = max(interval.p90 - interval.p50 - (interval.p50 - interval.p10), 0.0)
        scales.append(max(-error if error < 0 else error - leaner, 0.0) / unit)
    return {**current, "scale": round(_quantile(sorted(scales), COVERED), 2)} if scales else dict(current)


def _errors(rows: Iterable[Row], term: Callable[[Row], tuple[float, float, float] | None]) -> list[float]:
    """Absolute errors of one term over the scale it is judged by."""
    found = [values for row in rows if (values := term(row)) is not None]
    return sorted(abs(predicted - measured) / scale for predicted, measured, scale in found)


def _weights(row: Row) -> tuple[float, float, float] | None:
    measured = row.measured("weights_gib_per_gpu")
    return (row.estimate.weights_gib, measured, measured) if measured and row.usable("weights") else None


def _activation(row: Row) -> tuple[float, float, float] | None:
    measured = row.measured("peak_activation_gib")
    return (row.estimate.peak_activation_gib, measured, measured) if measured and row.usable("activation") else None


def _cache(row: Row) -> tuple[float, float, float] | None:
    measured = row.measured("available_kv_gib")
    return (row.estimate.kv_cache_gib, measured, row.total_gib) if measured and row.usable("kv-gib") else None


def cache_is_inside(row: Row) -> bool:
    """Say whether the measured cache lies between the predicted p10 and p90."""
    interval = row.estimate.kv_cache_gib_interval
    return interval.p10 <= float(row.measured("available_kv_gib") or 0.0) <= interval.p90


def _tokens(row: Row) -> tuple[float, float, float] | None:
    """Tokens from the measured cache: tests the bytes per token and the block rounding alone."""
    tokens, cache = row.measured("kv_tokens"), row.measured("available_kv_gib")
    if not tokens or not cache or not row.usable("kv-tokens"):
        return None
    rate = row.estimate.kv_cache_gib / max(row.estimate.kv_tokens, 1)
    return (cache / rate, tokens, tokens) if row.estimate.kv_tokens > 10_000 else None


def _quantile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, math.ceil(share * len(values)) - 1)] if values else float("nan")


def report(rows: list[Row], left_out: Mapping[str, int]) -> None:
    """Print the errors of the side that was not fitted, and of all rows."""
    held = [row for row in rows if not row.fitted]
    print(f"rows compared {len(rows)}, of which not fitted {len(held)}")
    for family, (fitted, not_fitted) in by_side(rows).items():
        print(f"  {family:24} fitted {fitted:3}  not fitted {not_fitted:3}")
    print(f"rows left out {sum(left_out.values())}")
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
    wrong = [row.facts["id"] for row in rows if row.usable("fits-no") and row.estimate.fits]
    refused = [row.facts["id"] for row in rows if row.usable("fits-yes") and not row.estimate.fits]
    for row in rows:
        if row.facts["id"] in {*wrong, *refused}:
            print(f"  {row.facts['id']}: {row.estimate.binding}, KV {row.estimate.kv_cache_gib:.2f} GiB")
    print(f"false fits {wrong}; successful starts refused {refused}")


def main() -> None:
    """Fit, write and report; the report uses the constants as written by the last run."""
    rows, left_out = read_rows()
    all_facts = read_facts()
    current = json.loads(CONSTANTS.read_text(encoding="utf-8"))
    document = fit(rows, all_facts, current)
    if "--check" not in sys.argv:
        CONSTANTS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        load_catalogue.cache_clear()
        rows, left_out = read_rows()
    print(json.dumps(document, indent=1))
    report(rows, left_out)


if __name__ == "__main__":
    main()
