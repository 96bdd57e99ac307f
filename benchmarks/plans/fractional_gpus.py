"""What a share of a GPU (MIG) would save over whole GPUs, for small models at the catalogue's prices.

Every profile of every card that AWS rents serves the same workload as the whole cards do, judged by the same memory
estimate and queue. A share is given the most that it can have: its price is the node's divided by all shares of the
node, as if every other share were sold, and memory is the card's times its share. ``python -m
benchmarks.plans.fractional_gpus`` writes docs/reports/fractional-gpus.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.folders import DATA, REPORTS
from benchmarks.memory.report import table
from sizing.catalogue import Catalogue, Gpu, load_catalogue
from sizing.inputs import ModelEntry
from sizing.planning.search.engines import BestLatency, build_engine
from sizing.planning.search.parallel_configs import ParallelConfig, Rejected
from sizing.workload.workload import Workload

PAGE = REPORTS / "fractional-gpus.md"
REGION = "us-east-1"
MODELS = (
    "BAAI/bge-m3", "openai/whisper-large-v3", "rednote-hilab/dots.ocr", "Qwen/Qwen3-4B", "Qwen/Qwen3-8B-FP8",
    "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-Embedding-8B", "openai/gpt-oss-20b",
)  # fmt: skip
SECONDS_PER_HOUR = 3600
INTRODUCTION = """# Shares of a GPU

Written by `python -m benchmarks.plans.fractional_gpus`; nothing on this page is typed by hand. Can a share of a large
GPU (NVIDIA MIG) serve a small model for less than a small GPU? Each model serves 220 prompt tokens and 200 answer
tokens (embedding models: one) within the default objectives, on every whole card and on every MIG profile of the cards
that AWS rents ({region}, on demand). A share costs its part of the node **as if every other share of the node were sold
too**, which is the best that can happen to it.

- *cheapest hour* is the least that one replica costs, which counts when traffic is small;
- *cheapest million requests* is the price at the most traffic within the objectives, which counts when it is large;
- *replicas before the node pays* is how many replicas of the whole card cost as much as one node of shares.
"""


@dataclass(frozen=True)
class Unit:
    """One replica on a whole card or on a share of one."""

    name: str
    usd_per_hour: float
    usd_per_million_requests: float
    node_usd_per_hour: float
    shares_per_node: int


def share_of(gpu: Gpu, memory_share: float, sm_share: float) -> Gpu:
    """Return the card as one MIG instance sees it."""
    return replace(
        gpu,
        total_gib=gpu.total_gib * memory_share,
        bandwidth_gb_s=gpu.bandwidth_gb_s * memory_share,
        dense_tflops={name: rate * sm_share for name, rate in gpu.dense_tflops.items()},
    )


def cards(catalogue: Catalogue) -> Iterator[tuple[str, Gpu, int]]:
    """Yield name, card and replicas a card of every whole card, then of every MIG profile."""
    rented = [gpu for gpu in catalogue.gpus if catalogue.instances(gpu.name, REGION)]
    for gpu in rented:
        yield gpu.name, gpu, 1
    for row in json.loads((DATA / "mig-profiles.json").read_text(encoding="utf-8"))["profiles"]:
        gpu = catalogue.gpu(row["gpu"])
        if gpu in rented:
            yield f"{gpu.name} {row['profile']}", share_of(gpu, row["memory_share"], row["sm_share"]), row["instances"]


def units(model: str, catalogue: Catalogue) -> tuple[list[Unit], list[Unit]]:
    """Return what serves ``model`` within the objectives: whole cards, and shares."""
    answer = 200 if catalogue.model(model).generates else 1
    workload = Workload(requests_per_second=1000, input_tokens=220, output_tokens=answer)
    entry = ModelEntry(name="small", model=model, workload=workload)
    found: tuple[list[Unit], list[Unit]] = ([], [])
    for name, card, count in cards(catalogue):
        shape = ParallelConfig(
            entry=entry, model=catalogue.model(model), gpu=card, tensor_parallel=1, pipeline_parallel=1
        )
        engine = build_engine(shape, BestLatency())
        if isinstance(engine, Rejected):
            continue
        for instance in catalogue.instances(card.name, REGION):
            node, replicas = instance.on_demand_usd_per_hour[REGION], instance.gpus * count
            million = node / replicas / (engine.most.requests_per_s * SECONDS_PER_HOUR) * 1e6
            unit = Unit(f"{name} on {instance.instance_type}", node / replicas, million, node, replicas)
            found[count > 1].append(unit)
    return found


def row_of(model: str, catalogue: Catalogue) -> list[str]:
    """Return the row of one model: the best whole card and the best share by hour and by million requests."""
    whole, shares = units(model, catalogue)
    if not shares:
        return [model, "no share holds it", "", "", "", ""]
    hour = [min(side, key=lambda u: (u.usd_per_hour, u.name)) for side in (whole, shares)]
    million = [min(side, key=lambda u: (u.usd_per_million_requests, u.name)) for side in (whole, shares)]
    pays = math.ceil(hour[1].node_usd_per_hour / hour[0].usd_per_hour)
    never = f"never: {hour[1].shares_per_node} shares are on it" if pays > hour[1].shares_per_node else ""
    return [
        model,
        *(f"{unit.usd_per_hour:.2f} ({unit.name})" for unit in hour),
        never or f"{pays} of {hour[1].shares_per_node}",
        *(f"{unit.usd_per_million_requests:.2f} ({unit.name})" for unit in million),
    ]


def main() -> None:
    """Write the page."""
    catalogue = load_catalogue()
    head = (
        "model", "cheapest hour, whole card", "cheapest hour, share", "replicas before the node pays",
        "USD per million requests, whole card", "USD per million requests, share",
    )  # fmt: skip
    text = table(head, [row_of(model, catalogue) for model in MODELS])
    PAGE.write_text(f"{INTRODUCTION.format(region=REGION)}\n{text}", encoding="utf-8")
    print(f"wrote docs/reports/{PAGE.name}")


if __name__ == "__main__":
    main()
