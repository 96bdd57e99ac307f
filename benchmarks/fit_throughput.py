"""Fit the efficiencies of the roofline on some sources and print the error on the others.

    python -m benchmarks.fit_throughput            print the errors with the committed constants
    python -m benchmarks.fit_throughput --write    fit, write sizing/catalogue/throughput_constants.json, print

The split is by source (rows of one sweep are near copies of each other). Fitted: the sources in FITTED.
Method: coordinate descent in the logarithm of each constant on the mean absolute logarithmic error, each
source weighted the same whatever its number of rows, with a weak pull to the starting value so that a constant
without rows keeps it.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sizing.roofline import Load, Speed, closed_loop

DATA = Path(__file__).parent / "data"
CATALOGUE = Path(__file__).parents[1] / "sizing" / "catalogue"
CONSTANTS = CATALOGUE / "throughput_constants.json"
FITTED = ("argonne-lcf/LLM-Inference-Bench", "ai-dynamo/aiconfigurator", "varad-more/inference-engine-benchmark-system")
SHORT_PROMPT_TOKENS = 40
"""Prompts of the varad-more source: 13 to 18 words (its notes), with the chat template about 40 tokens."""
PULL = 0.02

START: dict[str, float] = {
    "bandwidth.default": 0.80,
    "compute.default": 0.55,
    "host.step_us": 1500.0,
    "old.step_us": 4000.0,
    "old.sequence_us": 40.0,
    "old.compute": 0.8,
    "host.sequence_us": 15.0,
    "host.request_us": 10000.0,
    "link.nvlink.latency_us": 10.0,
    "link.nvlink.efficiency": 0.6,
    "link.pcie.latency_us": 25.0,
    "link.pcie.efficiency": 0.4,
}
CLASSES = {"A100-40GB": "A100", "A100-80GB": "A100", "A10G": "A10G", "H100": "Hopper", "H200": "Hopper"}
"""GPUs that share a fitted efficiency; one that is absent takes the default."""


@dataclass(frozen=True)
class Point:
    """One published measurement, with what the model needs to predict it."""

    source: str
    gpu: str
    tp: int
    load: Load
    concurrency: float
    slots: float
    input_tokens: float
    output_tokens: float
    static: bool
    old: bool
    """Of an engine before V1: its host cost and kernels are nuisance constants (old.*), not used in plans."""
    measured: Mapping[str, float]


def _concurrency(row: Mapping[str, object]) -> float | None:
    if row["concurrency"] is not None:
        return float(str(row["concurrency"]))
    prompts = re.search(r"(\d+) prompts", str(row["notes"]))
    return float(prompts.group(1)) if row["request_rate"] == "inf" and prompts else None


def _measured(row: Mapping[str, object], *, burst: bool) -> dict[str, float]:
    keys = ("output_tok_s",) if burst else ("output_tok_s", "tpot_ms", "ttft_ms")
    return {key: float(str(row[key])) for key in keys if row[key] is not None}


def _gpu_name(row: Mapping[str, object]) -> str:
    return str(row["gpu_type"]).replace("H100-80GB", "H100")


def _point(row: Mapping[str, object], shape: Mapping[str, float], gpu: Mapping[str, object]) -> Point | None:
    concurrency, tp, output = _concurrency(row), row["tp"], row["output_len"]
    if concurrency is None or tp is None or output is None:
        return None
    tp, width = int(str(tp)), 1.0 if str(row["quantization"]).startswith("fp8") else 2.0
    kv_heads_per_gpu = max(shape["kv_heads"] / tp, 1.0)
    kv_per_token = 2 * shape["layers"] * kv_heads_per_gpu * shape["head_dim"] * 2
    weights = shape["parameters"] * width / tp
    input_tokens = float(str(row["input_len"] or SHORT_PROMPT_TOKENS))
    room = float(str(gpu["total_gib"])) * 2**30 * 0.9 - weights - 2 * 2**30
    load = Load(
        weights_bytes=weights,
        kv_bytes_per_token=kv_per_token,
        parameters_active=shape["parameters"],
        layers=int(shape["layers"]),
        hidden_size=int(shape["hidden_size"]),
        attention_width=int(shape["heads"] * shape["head_dim"]),
        gpus=tp,
        chunk_tokens=8192,
    )
    source = "/".join(str(row["source_url"]).split("/")[3:5])
    return Point(
        source=source,
        gpu=str(gpu["name"]),
        tp=tp,
        load=load,
        concurrency=concurrency,
        slots=max(min(room / kv_per_token / (input_tokens + float(str(output)) / 2), 1024), 1),
        input_tokens=input_tokens,
        output_tokens=float(str(output)),
        static="static batch" in str(row["notes"]),
        old="V0" in str(row["notes"]),
        measured=_measured(row, burst=row["concurrency"] is None),
    )


def read_points() -> tuple[Point, ...]:
    """Rows of dense models that state what a prediction needs."""
    shapes = json.loads((DATA / "throughput-models.json").read_text())["models"]
    gpus = {gpu["name"]: gpu for gpu in json.loads((CATALOGUE / "gpus.json").read_text())["gpus"]}
    rows = [json.loads(line) for line in (DATA / "throughput-points.jsonl").read_text().splitlines()]
    points = [_point(row, shapes[row["model"]], gpus[_gpu_name(row)]) for row in rows if _gpu_name(row) in gpus]
    return tuple(point for point in points if point is not None and point.measured)


def speed_of(constants: Mapping[str, float], gpu: Mapping[str, object], *, fp8: bool, old: bool) -> Speed:
    """Speed of one GPU under these constants; fp8 doubles the compute where the card has it."""
    name = CLASSES.get(str(gpu["name"]), "default")
    tflops = gpu["dense_tflops"]
    assert isinstance(tflops, dict)  # noqa: S101
    best = tflops.get("fp8") if fp8 else None
    link, host = str(gpu["link"]), "old" if old else "host"
    return Speed(
        bandwidth_bytes_per_s=float(str(gpu["bandwidth_gb_s"])) * 1e9 * constants[f"bandwidth.{name}"],
        compute_flops_per_s=float(best or tflops["bf16"])
        * 1e12
        * constants[f"compute.{name}"]
        * (constants["old.compute"] if old else 1.0),
        link_bytes_per_s=float(str(gpu["link_gb_s"])) / 2 * 1e9 * constants[f"link.{link}.efficiency"],
        link_latency_s=constants[f"link.{link}.latency_us"] * 1e-6,
        host_step_s=constants[f"{host}.step_us"] * 1e-6,
        host_sequence_s=constants[f"{host}.sequence_us"] * 1e-6,
        request_s=constants["host.request_us"] * 1e-6,
    )


def predict(point: Point, constants: Mapping[str, float], gpus: Mapping[str, Mapping[str, object]]) -> dict[str, float]:
    """Predicted tokens/s, TPOT and TTFT of one point."""
    fp8 = point.load.weights_bytes * point.tp < point.load.parameters_active * 1.5
    speed = speed_of(constants, gpus[point.gpu], fp8=fp8, old=point.old)
    loop = closed_loop(
        point.load,
        speed,
        concurrency=point.concurrency,
        slots=point.slots,
        input_tokens=point.input_tokens,
        output_tokens=point.output_tokens,
    )
    if point.static:
        return {"output_tok_s": loop.output_tokens_per_s}  # all prefill, then all decode: one cycle of the batch
    return {
        "output_tok_s": loop.output_tokens_per_s,
        "tpot_ms": loop.tpot_s * 1e3,
        "ttft_ms": loop.ttft_s * 1e3,
    }


Residuals = dict[str, list[tuple[Point, float]]]


@functools.cache
def _gpus() -> Mapping[str, Mapping[str, object]]:
    return {gpu["name"]: gpu for gpu in json.loads((CATALOGUE / "gpus.json").read_text())["gpus"]}


def residuals(points: Iterable[Point], constants: Mapping[str, float]) -> Residuals:
    """ln(predicted / measured) by measure."""
    gpus = _gpus()
    out: Residuals = defaultdict(list)
    for point in points:
        predicted = predict(point, constants, gpus)
        for key, value in point.measured.items():
            out[key].append((point, math.log(predicted[key] / value)))
    return out


def _start(key: str) -> float:
    return START.get(key) or START[key.split(".", 1)[0] + ".default"]


def _loss(points: tuple[Point, ...], constants: Mapping[str, float]) -> float:
    by_source: dict[str, list[float]] = defaultdict(list)
    for key, pairs in residuals(points, constants).items():
        for point, residual in pairs:
            by_source[point.source].append(abs(residual) * (0.3 if key == "ttft_ms" else 1.0))
    pull = sum(abs(math.log(value / _start(key))) for key, value in constants.items())
    return statistics.fmean(statistics.fmean(values) for values in by_source.values()) + PULL * pull / len(constants)


LIMITS: dict[str, tuple[float, float]] = {"bandwidth": (0.4, 0.98), "compute": (0.4, 0.95)}


def _allowed(key: str, value: float) -> bool:
    low, high = LIMITS.get(key.split(".", 1)[0], (0.0, math.inf))
    if key.endswith("efficiency"):
        low, high = 0.05, 1.0
    return low <= value <= high


def fit(points: tuple[Point, ...], progress: Callable[[str], None]) -> dict[str, float]:
    """Coordinate descent with shrinking steps; deterministic."""
    constants = dict(START)
    for name in sorted({CLASSES[point.gpu] for point in points if point.gpu in CLASSES}):
        constants[f"bandwidth.{name}"] = START["bandwidth.default"]
        constants[f"compute.{name}"] = START["compute.default"]
    best = _loss(points, constants)
    for factor in (1.25, 1.1, 1.04, 1.015):
        improved = True
        while improved:
            improved = False
            for key in sorted(constants):
                for candidate in (constants[key] * factor, constants[key] / factor):
                    trial = {**constants, key: candidate}
                    loss = _loss(points, trial) if _allowed(key, candidate) else math.inf
                    if loss < best - 1e-6:
                        constants, best, improved = trial, loss, True
        progress(f"step {factor}: loss {best:.4f}")
    fitted = [constants[key] for key in sorted(constants) if key.startswith("bandwidth.") and "default" not in key]
    constants["bandwidth.default"] = statistics.median(fitted)
    computes = [constants[key] for key in sorted(constants) if key.startswith("compute.") and "default" not in key]
    constants["compute.default"] = statistics.median(computes)
    return constants


def _quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def spread(points: tuple[Point, ...], constants: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Factors from the prediction to p10 and p90 of the truth, from the residuals of the fitted side."""
    out = {}
    for key, pairs in sorted(residuals(points, constants).items()):
        values = [-residual for _, residual in pairs]
        out[key] = {
            "p10": round(min(math.exp(_quantile(values, 0.1)), 1.0), 3),
            "p90": round(max(math.exp(_quantile(values, 0.9)), 1.0), 3),
            "rows": len(values),
        }
    return out


def report(title: str, points: tuple[Point, ...], constants: Mapping[str, float]) -> None:
    """Median absolute error and bias by measure, source and width."""
    print(title)
    for key, pairs in sorted(residuals(points, constants).items()):
        groups: dict[str, list[float]] = defaultdict(list)
        for point, residual in pairs:
            for group in ("all", point.source, f"{point.gpu} TP{point.tp}"):
                groups[group].append(math.expm1(residual))
        for group, errors in sorted(groups.items()):
            median = statistics.median(abs(error) for error in errors)
            print(
                f"  {key:13} {group:50} rows {len(errors):4} median error {median:6.1%}"
                f" bias {statistics.median(errors):+7.1%}"
            )


def _document(
    constants: Mapping[str, float], spreads: Mapping[str, object], points: tuple[Point, ...]
) -> dict[str, object]:
    return {
        "source": "benchmarks/data/throughput-points.jsonl, sources " + ", ".join(FITTED),
        "date": "2026-11-21",
        "refresh": "python -m benchmarks.fit_throughput --write",
        "rows": len(points),
        "gpu_class": CLASSES,
        "constants": {key: float(f"{constants[key]:.4g}") for key in sorted(constants)},
        "spread": spreads,
    }


def main() -> None:
    """Print the errors; with --write fit first."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    points = read_points()
    fitted = tuple(point for point in points if point.source in FITTED)
    held_out = tuple(point for point in points if point.source not in FITTED)
    if write:
        constants = fit(fitted, print)
        document = _document(constants, spread(fitted, constants), fitted)
        CONSTANTS.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    constants = json.loads(CONSTANTS.read_text())["constants"]
    report(f"Fitted side ({len(fitted)} points)", fitted, constants)
    report(f"Held-out side ({len(held_out)} points)", held_out, constants)


if __name__ == "__main__":
    main()
