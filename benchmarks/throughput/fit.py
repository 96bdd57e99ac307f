"""Fit the efficiencies of the roofline on published points, and print the error on sources that were not fitted.

    python -m benchmarks.throughput.fit            print the errors with the committed constants
    python -m benchmarks.throughput.fit --folds    fit once for each source left out, print its errors
    python -m benchmarks.throughput.fit --write    the same, then fit on all and write the constants

The reported error of a source comes from constants that were fitted without it (rows of one sweep are near copies
of each other, so the split is by source, never by row). The committed constants are fitted on all sources, and the
spread of an answer comes from the errors of the sources left out, so that it is not too narrow.
Method: coordinate descent in the logarithm of each constant on the mean absolute logarithmic error, each source
weighted by the square root of its rows. Partial pooling: a source may be faster or slower as a whole (its machine, its
client), at a price, so that one source does not bend constants of physics. Each constant is pulled to its starting
value, the harder the better it is known beforehand (``WIDTHS``); a constant without rows keeps it.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

from benchmarks.folders import CATALOGUE
from benchmarks.throughput.rows import Point, read_points
from sizing.performance.replica import Replica, speed_of
from sizing.performance.roofline import Loop, Roofline, Speed, closed_loop, prompt_pairs

CONSTANTS = CATALOGUE / "throughput_constants.json"
PULL = 0.004
"""Price of one width (``WIDTHS``) between a constant and its starting value."""
POOLING = 0.5
"""Price of a source's own speed, as a share of the price of an error: 0 forgives all of it, 1 none."""
WAVES = 10.0
"""Requests of a closed loop over those in flight, where the run does not state them: what the harnesses take."""
FEW_WAVES = 2.0
"""Up to here the median request is one of the first wave."""
TTFT_WEIGHT = 0.3
"""TTFT depends on the harness more than on the engine."""
FEW_ROWS = 5
"""Sources with fewer rows are left out together."""
LONGEST_OUTPUT = 8.0
"""Longest output of a corpus of conversations over its mean (217 of at most 2,048 tokens with the prompt)."""
TENTH_OVER_QUARTER = 1.2816 / 0.6745
"""Distance from the middle of a normal distribution to its outer tenth, over that to its outer quarter."""
EULER = 0.5772
"""The longest of n exponential lengths is ln n + this many means."""
START: Mapping[str, float] = {
    "bandwidth": 0.80, "bandwidth.Blackwell-RTX": 0.87,
    "compute": 0.55, "fp8.compute": 0.75, "int4.compute": 0.85, "attention.bandwidth": 0.7,
    "host.step_us": 1200.0, "host.sequence_us": 12.0, "host.first_token_us": 10000.0, "host.request_us": 2000.0,
    "old.step_us": 4000.0, "old.sequence_us": 40.0, "old.compute": 0.8, "old.bandwidth": 0.95, "old.link": 0.7,
    "old.latency": 1.5, "old.experts": 0.7, "link.nvlink": 1.0, "link.pcie": 1.0, "link.apart_us": 3.0,
    "attention.fp8": 0.7, "host.layer_us": 8.0, "experts.bandwidth": 0.75, "experts.compute": 0.6,
    "experts.layer_us": 40.0, "experts.prompt_us": 150.0, "experts.routing": 0.6, "host.token_us": 60.0, "passes": 8.0,
    "experts.passes": 4.0, "latent.layer_us": 80.0, "eager.layer_us": 350.0, "eager.experts_us": 650.0,
    "eager.link_us": 100.0, "adapters.layer_us": 60.0, "adapters.slot_us": 1.0, "adapters.each_us": 6.0,
    "adapters.compute": 0.1, "draft.pass_us": 200.0,
}  # fmt: skip
"""Starting values. Where the newer ones come from:

link: all-reduces are as fast inside a model as measured alone; link.apart_us is about the spread of a kernel's launch.
bandwidth.Blackwell-RTX: small matrices reach 0.90 of GDDR7 and 0.69 to 0.82 of HBM (the kernels that
    AIConfigurator 0.12.0 measured), of which a model keeps nearly all.
attention.fp8: vLLM's page on quantised caches promised room, not speed, before kernels multiplied in 8 bits.
host.layer_us: about eight kernels a layer with a gap of a microsecond each inside a CUDA graph.
experts.prompt_us: about thirty kernels a layer of 5 us each to launch, where no CUDA graph replays them.
eager: steps of published runs over their layers, where they do not depend on the batch: 0.3 ms a layer on the host of
    an H100, 0.5 on smaller ones, 0.1 more for two reductions, 0.6 to 1 more for experts.
adapters: the runs of ``data/adapter-runs.json``, which are too few and too unlike to fit.
draft.pass_us: what single requests of ``data/draft-runs.json`` show in addition to the bytes of the draft.
"""
WIDTHS: Mapping[str, float] = {
    "bandwidth": 0.2, "compute": 0.25, "attention.bandwidth": 0.2, "fp8.compute": 0.2, "int4.compute": 0.2,
    "link.nvlink": 0.2, "experts.bandwidth": 0.2,
    "experts.compute": 0.3, "host.step_us": 0.3, "host.first_token_us": 3.0, "old": 3.0,
}  # fmt: skip
"""How well a constant is known before any row, as a logarithm; 0.6 where absent. Copies, reductions over NVLink and
matrix products have been measured for years; what an older engine added to them is nuisance."""
LIMITS: Mapping[str, tuple[float, float]] = {
    "bandwidth": (0.4, 0.98), "compute": (0.25, 0.95), "fp8.compute": (0.4, 1.2), "int4.compute": (0.3, 1.2),
    "attention.bandwidth": (0.2, 1.0), "old.compute": (0.4, 1.2), "old.bandwidth": (0.5, 1.2),
    "experts.bandwidth": (0.2, 1.0), "experts.compute": (0.15, 1.0), "experts.routing": (0.1, 1.0),
}  # fmt: skip
CLASSES: Mapping[str, str] = {
    "A100-40GB": "A100", "A100-80GB": "A100", "A100-PCIE": "A100", "A10G": "A10G", "B200": "Blackwell",
    "H100": "Hopper", "H100-NVL": "Hopper", "H100-PCIE": "Hopper", "H200": "Hopper", "L4": "Ada", "L40S": "Ada",
    "RTX-3090": "A10G", "RTX-4090": "Ada", "RTX-5080": "Blackwell-RTX", "RTX-5090": "Blackwell-RTX",
    "RTX-A5000": "A10G", "RTX-A6000": "A10G", "RTX-PRO-6000": "Blackwell-RTX", "T4": "Turing",
}  # fmt: skip
"""GPUs that share a fitted efficiency; one that is absent takes the default."""
Residual = tuple[Point, str, float]
Weighted = tuple[float, float]


def predict(constants: Mapping[str, float], point: Point) -> dict[str, float]:
    """Return tokens/s, TPOT and TTFT of one point; a finite run lasts as many cycles as it has batches."""
    replica = Replica(
        work=point.work,
        speed=_speed(constants, point),
        max_num_seqs=point.engine.max_num_seqs,
        kv_tokens=point.memory.kv_tokens,
    )
    roofline, inputs, outputs = replica.roofline, point.input_tokens, point.output_tokens
    loop = closed_loop(
        roofline,
        concurrency=point.concurrency,
        slots=replica.slots(point.held_tokens),
        input_tokens=inputs,
        output_tokens=outputs,
        recomputed_tokens=replica.recomputed(point.concurrency, point.held_tokens, outputs),
    )
    rate = loop.output_tokens_per_s
    requests = point.concurrency if point.burst else point.prompts
    if math.isfinite(requests):
        rate = requests * outputs / run_s(roofline, loop, point, requests)
    ttft, tpot = loop.ttft_s, loop.tpot_s
    if not point.burst:
        ttft = _client_ttft_s(roofline, loop, point)
        tpot -= (_together(roofline, loop, point) - 1) * loop.prefill_s / outputs  # part of its own first token
    return {"output_tok_s": rate, "tpot_ms": tpot * 1e3, "ttft_ms": ttft * 1e3}


def _together(roofline: Roofline, loop: Loop, point: Point) -> float:
    """Return the requests that are prefilled in one step, in the steady state.

    Those of equal lengths end, and are followed by the next, in one step; those of varied lengths drift apart.
    """
    return max(min(loop.batch, roofline.work.chunk_tokens // point.input_tokens), 1.0) if point.alike else 1.0


def _client_ttft_s(roofline: Roofline, loop: Loop, point: Point) -> float:
    """Return the TTFT that a client of a closed loop prints: its median, or its mean with the first wave in it.

    It sends when an answer ends, just after the next step began, and misses all of that step. Half of the requests
    find no other prompt before theirs.
    """
    inputs, context = point.input_tokens, point.input_tokens + point.output_tokens / 2
    missed = loop.step_s / 2 * min(loop.batch - 1, 1.0)
    ttft = loop.ttft_s + missed
    if point.median_ttft and point.concurrency <= loop.batch:
        ttft = roofline.first_token_s(loop.batch - 1, context, tokens=inputs, cached=0.0) + 2 * missed
    if point.alike:
        group = _together(roofline, loop, point)
        ttft = max(ttft, first_wave_s(roofline, group, inputs, others=loop.batch - group))
    waves = point.prompts / loop.batch if math.isfinite(point.prompts) else WAVES
    first = 0.0 if point.median_ttft and waves > FEW_WAVES else min(1 / waves, 1.0)
    return (1 - first) * ttft + first * max(ttft, first_wave_s(roofline, loop.batch, inputs))


def first_wave_s(roofline: Roofline, batch: float, inputs: float, *, others: float = 0.0) -> float:
    """Return mean seconds to the first token of ``batch`` prompts that arrive at once: chunks of them, one a step.

    ``others`` are decodes in the same steps.
    """
    chunks = max(math.ceil(batch * inputs / roofline.work.chunk_tokens), 1)
    decodes = others + batch * (chunks - 1) / (2 * chunks)
    prompts = batch * inputs / chunks
    step = roofline.step_s(decodes, inputs, prompt_tokens=prompts, pairs=prompt_pairs(inputs) * batch / chunks)
    return (chunks + 1) / 2 * step + batch / 2 * roofline.speed.request_host_s + roofline.speed.request_s


def run_s(roofline: Roofline, loop: Loop, point: Point, requests: float) -> float:
    """Return seconds of a run of that many requests: whole cycles, and the end where fewer and fewer are left.

    Requests of one length end in waves, and the last wave is what is over. Of varied lengths a wave ends with its
    longest, while the batch shrinks by the same share in every step: its logarithm is halfway on average.
    """
    inputs, outputs = point.input_tokens, point.output_tokens
    if point.varied:
        longest = min(math.log(loop.batch) + EULER, LONGEST_OUTPUT, point.longest_output / outputs)
        tail = max(longest - 1, 0.0) * outputs * roofline.step_s(math.sqrt(loop.batch), inputs + 2 * outputs)
        return loop.cycle_s * requests / loop.batch + tail
    waves, over = divmod(requests, loop.batch)
    if over < 1:
        return loop.cycle_s * requests / loop.batch
    last = closed_loop(roofline, concurrency=over, slots=over, input_tokens=inputs, output_tokens=outputs)
    return waves * loop.cycle_s + last.cycle_s


def _speed(constants: Mapping[str, float], point: Point) -> Speed:
    speed = speed_of(constants, CLASSES, point.model, point.gpu, point.engine.tensor_parallel)
    if not point.old:
        return speed
    experts = constants["old.experts"] if point.model.experts else 1.0
    extra = speed.host_step_s - constants["host.step_us"] * 1e-6
    return replace(
        speed,
        bandwidth_bytes_per_s=speed.bandwidth_bytes_per_s * constants["old.bandwidth"],
        compute_flops_per_s=speed.compute_flops_per_s * constants["old.compute"] * experts,
        expert_bytes_per_s=speed.expert_bytes_per_s * constants["old.bandwidth"] * experts,
        link_bytes_per_s=speed.link_bytes_per_s * constants["old.link"],
        link_latency_s=speed.link_latency_s * constants["old.latency"],
        direct_bytes_per_s=speed.direct_bytes_per_s * constants["old.link"],
        direct_latency_s=speed.direct_latency_s * constants["old.latency"],
        host_step_s=constants["old.step_us"] * 1e-6 + extra,
        host_sequence_s=constants["old.sequence_us"] * 1e-6,
    )


def residuals(constants: Mapping[str, float], points: Iterable[Point]) -> list[Residual]:
    """Return ln(predicted / measured) of every figure of every point."""
    out = []
    for point in points:
        predicted = predict(constants, point)
        out += [(point, key, math.log(predicted[key] / value)) for key, value in point.measured.items()]
    return out


def _loss(constants: Mapping[str, float], points: Sequence[Point]) -> float:
    by_source: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for point, key, residual in residuals(constants, points):
        by_source[point.source][key].append(residual)
    fit_error = total = 0.0
    for by_key in by_source.values():
        figures = sum(map(len, by_key.values()))
        error = sum((TTFT_WEIGHT if key == "ttft_ms" else 1.0) * _pooled(values) for key, values in by_key.items())
        fit_error += math.sqrt(figures) * error / figures
        total += math.sqrt(figures)
    pull = sum((math.log(value / _start(key)) / _width(key)) ** 2 for key, value in constants.items())
    return fit_error / total + PULL * pull


def _pooled(values: Sequence[float]) -> float:
    """Return the sum of absolute errors around the source's own speed, and the price of that."""
    ordered = sorted(values)
    low, high = ordered[int(len(ordered) * (1 - POOLING) / 2)], ordered[int(len(ordered) * (1 + POOLING) / 2)]
    own = low if low > 0 else min(high, 0.0)
    return sum(abs(value - own) for value in ordered) + POOLING * abs(own) * len(ordered)


def _width(key: str) -> float:
    return WIDTHS.get(key) or WIDTHS.get(key.split(".", maxsplit=1)[0], 0.6)


def _start(key: str) -> float:
    return START.get(key) or START[key.split(".", maxsplit=1)[0]]


def _allowed(key: str, value: float) -> bool:
    names = (key, key.split(".", maxsplit=1)[0], key.rsplit(".", maxsplit=1)[-1])
    low, high = next((LIMITS[name] for name in names if name in LIMITS), (0.01, math.inf))
    return low <= value <= high


def fit(points: Sequence[Point], steps: Sequence[float] = (1.25, 1.1, 1.04)) -> dict[str, float]:
    """Return the constants: coordinate descent with shrinking steps, deterministic."""
    constants = dict(START)
    for name in sorted({CLASSES[point.gpu.name] for point in points if point.gpu.name in CLASSES}):
        constants |= {key: _start(key) for key in (f"bandwidth.{name}", f"compute.{name}")}
    best = _loss(constants, points)
    for step in steps:
        for _ in range(6):
            before = best
            for key in sorted(constants):
                constants, best = _try(constants, points, key, step, best)
            if before - best < 1e-5:
                break
    for kind in ("bandwidth", "compute"):
        fitted = [constants[key] for key in sorted(constants) if key.startswith(kind + ".")]
        constants[f"{kind}.default"] = statistics.median(fitted or [constants[kind]])
        for name in sorted(set(CLASSES.values())):
            constants.setdefault(f"{kind}.{name}", constants[f"{kind}.default"])
    return constants


def _try(
    constants: dict[str, float], points: Sequence[Point], key: str, step: float, best: float
) -> tuple[dict[str, float], float]:
    for candidate in (constants[key] * step, constants[key] / step):
        if _allowed(key, candidate):
            trial = {**constants, key: candidate}
            loss = _loss(trial, points)
            if loss < best - 1e-5:
                return trial, loss
    return constants, best


def folds(progress: Callable[[str], None]) -> list[Residual]:
    """Return the residuals of every source under constants that were fitted without it, a process for each core."""
    points, _ = read_points()
    by_name = {point.id: point for point in points}
    rows = Counter(point.source for point in points)
    large = sorted(source for source in rows if rows[source] >= FEW_ROWS)
    left_out = [(source,) for source in large] + [tuple(sorted(set(rows) - set(large)))]
    out: list[Residual] = []
    with ProcessPoolExecutor() as pool:
        for sources, found in zip(left_out, pool.map(_fold, left_out), strict=True):
            progress(f"left out {', '.join(sources)}: {len(found)} figures")
            out += [(by_name[name], key, residual) for name, key, residual in found]
    return out


def _fold(sources: Collection[str]) -> list[tuple[str, str, float]]:
    points, _ = read_points()
    constants = fit([point for point in points if point.source not in sources], (1.25, 1.08))
    found = residuals(constants, [point for point in points if point.source in sources])
    return [(point.id, key, residual) for point, key, residual in found]


def groups_of(point: Point) -> tuple[str, ...]:
    """Return the lines of the report that a point counts for; ``all`` is engines since V1, as plans use them."""
    if point.old:
        return ("before V1 (not used in plans)",)
    wide = ("any model, TP >= 2",) if point.engine.tensor_parallel > 1 else ()
    return ("all", kind_of(point), *wide, point.group, point.source)


def report(title: str, found: Iterable[Residual]) -> None:
    """Print median absolute error and bias by measure and group."""
    print(title)
    by_group: dict[tuple[str, str], list[float]] = defaultdict(list)
    for point, key, residual in found:
        for group in groups_of(point):
            by_group[key, group].append(math.expm1(residual))
    for (key, group), errors in sorted(by_group.items()):
        median = statistics.median(abs(error) for error in errors)
        bias = statistics.median(errors)
        print(f"  {key:13} {group:46} figures {len(errors):4} median error {median:6.1%} bias {bias:+7.1%}")


def _quantile(values: Sequence[Weighted], share: float) -> float:
    """Return the value below which this share of the weights lies."""
    below, all_of_them = 0.0, sum(weight for _, weight in values)
    for value, weight in sorted(values):
        below += weight
        if below >= share * all_of_them:
            return value
    return max(values)[0]


def spread(found: Iterable[Residual]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the factors from a prediction to p10 and p90 of the truth, by kind, from sources that were not fitted.

    A kind with too few figures of a measure takes those of all kinds. A source weighs the square root of its figures,
    as in the fit.
    """
    by_kind: dict[str, dict[str, list[Weighted]]] = {kind: defaultdict(list) for kind in KINDS}
    every: dict[str, list[Weighted]] = defaultdict(list)
    new = [(point, key, residual) for point, key, residual in found if not point.old]
    figures = Counter((point.source, key) for point, key, _ in new)
    for point, key, residual in new:
        weighted = (-residual, 1 / math.sqrt(figures[point.source, key]))
        by_kind[kind_of(point)][key].append(weighted)
        every[key].append(weighted)
    return {
        kind: {key: _factors(values[key] if len(values[key]) >= FEW_ROWS else every[key]) for key in sorted(every)}
        for kind, values in by_kind.items()
    }


def _factors(values: Sequence[Weighted]) -> dict[str, float]:
    """Return p10 and p90 of the log-normal with the quartiles of ``values``.

    The outer tenths of few sources belong to one of them (a far client, an engine beyond its cache); quartiles do not.
    """
    low, middle, high = (_quantile(values, share) for share in (0.25, 0.5, 0.75))
    tenth = (high - low) / 2 * TENTH_OVER_QUARTER
    return {
        "p10": round(min(math.exp(middle - tenth), 1.0), 3),
        "p90": round(max(math.exp(middle + tenth), 1.0), 3),
        "rows": len(values),
    }


KINDS = ("dense, one GPU", "dense, TP >= 2", "experts")


def kind_of(point: Point) -> str:
    """Return the kind of model and width whose errors resemble each other."""
    if point.model.experts:
        return "experts"
    return KINDS[1] if point.engine.tensor_parallel > 1 else KINDS[0]


def main() -> None:
    """Print the errors; with --write fit and commit the constants."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--folds", action="store_true")
    options = parser.parse_args()
    points, left_out = read_points()
    print(f"points compared {len(points)}")
    for reason, count in left_out.items():
        print(f"  {reason}: {count}")
    if options.folds or options.write:
        unseen = folds(print)
        report("Sources that were not fitted", unseen)
    if options.write:
        constants = fit(points)
        document = {
            "source": "benchmarks/data/throughput-points.jsonl, all sources; spread: each source left out in turn",
            "date": "2026-11-22",
            "refresh": "python -m benchmarks.throughput.fit --write",
            "rows": len(points),
            "gpu_class": dict(sorted(CLASSES.items())),
            "constants": {key: float(f"{constants[key]:.4g}") for key in sorted(constants)},
            "spread": spread(unseen),
        }
        CONSTANTS.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    committed = json.loads(CONSTANTS.read_text(encoding="utf-8"))["constants"]
    report("All sources under the committed constants", residuals(committed, points))


if __name__ == "__main__":
    main()
