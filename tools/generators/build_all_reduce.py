"""Write sizing/catalogue/all_reduce.json: how long GPUs take to add up their parts, from published measurements.

    python -m tools.generators.build_all_reduce

AIConfigurator ships measured all-reduces of vLLM inside CUDA graphs (which read the peers' memory where the GPUs can,
and call NCCL where not) and of NCCL alone, by card, number of GPUs and size. Each curve is reduced to a start and a
bandwidth: the start is the median of the smallest messages, the bandwidth the median over the sizes that a step has.
Its sizes count elements of 16 bits. The tables are read in the benchmark's own environment of AIConfigurator.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.folders import CATALOGUE
from benchmarks.memory.peers.environments import talk
from benchmarks.throughput.peers import aiconfigurator

OUT = CATALOGUE / "all_reduce.json"
SYSTEMS = {
    "A100-80GB": "a100_sxm", "B200": "b200_sxm", "B300": "b300_sxm", "H100": "h100_sxm", "H200": "h200_sxm",
    "L40S": "l40s", "RTX-PRO-6000": "rtx_pro_6000_server",
}  # fmt: skip
ELEMENT_BYTES = 2
START_BYTES = 4096
"""Messages of less take the time of their start."""
SHORT, LONG = (2**17, 2**21), (2**24, 2**28)
"""Bytes of the hidden states of some decodes, and of a chunk of a prompt."""
PEERS = 2
"""On PCIe vLLM reads the peer's memory between two GPUs only."""
GPUS = (2, 4, 8)
Curve = Mapping[float, float]
"""Microseconds by bytes."""


def read_tables() -> None:
    """Print a line for each measured size: card, kind, GPUs, bytes, microseconds."""
    pandas, resources = import_module("pandas"), import_module("importlib.resources")
    data = Path(str(resources.files("aiconfigurator_core"))) / "systems" / "data"
    for card, system in SYSTEMS.items():
        vllm = _newest(data / system / "comm" / "vllm", "custom_allreduce_perf.parquet")
        table = pandas.read_parquet(vllm)
        _print(card, "vllm", table[table.kernel_source == "vLLM_custom_graph"])
        nccl = pandas.read_parquet(_newest(data / system / "comm" / "nccl", "nccl_perf.parquet"))
        _print(card, "nccl", nccl[(nccl.op_name == "all_reduce") & (nccl.nccl_dtype == "half")])


def _newest(folder: Path, name: str) -> Path:
    return max(folder.glob(f"*/{name}"), key=lambda path: tuple(map(int, path.parent.name.split("."))))


def _print(card: str, kind: str, table: Any) -> None:
    for row in table.itertuples():
        size = int(row.message_size) * ELEMENT_BYTES
        print(json.dumps([card, kind, int(row.num_gpus), size, float(row.latency) * 1e3]))


def curves(lines: Iterable[str]) -> Mapping[tuple[str, str, int], Curve]:
    """Return microseconds by bytes, by card, kind and GPUs; of sizes that were measured twice the median."""
    found: dict[tuple[str, str, int], dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for card, kind, gpus, size, microseconds in map(json.loads, lines):
        found[card, kind, gpus][size].append(microseconds)
    return {
        key: {size: statistics.median(all_of_it) for size, all_of_it in found[key].items()} for key in sorted(found)
    }


def line(curve: Curve, gpus: int, sizes: tuple[int, int]) -> tuple[float, float]:
    """Return the start in microseconds and the bytes a second at which each GPU sends 2 (n - 1) / n of the message."""
    start = statistics.median(time for size, time in curve.items() if size <= START_BYTES)
    within = [(size, time) for size, time in curve.items() if sizes[0] <= size <= sizes[1]]
    sent = 2 * (gpus - 1) / gpus
    return start, statistics.median(sent * size / max(time - start, 1e-3) * 1e6 for size, time in within)


def entry(vllm: Curve, nccl: Curve, gpus: int, *, direct: bool) -> dict[str, float]:
    """Return the ring and, where GPUs read each other's memory, the direct reduction."""
    sizes = LONG if direct else (SHORT[0], LONG[1])
    start, ring = line({**nccl, **{size: min(time, nccl.get(size, time)) for size, time in vllm.items()}}, gpus, sizes)
    ring_start = statistics.median(time for size, time in nccl.items() if size <= START_BYTES)
    out = {"ring_latency_us": ring_start if direct else start, "ring_gb_s": ring / 1e9}
    if direct:
        start, quick = line(vllm, gpus, SHORT)
        out |= {"direct_latency_us": start, "direct_gb_s": quick / 1e9}
    return {key: float(f"{value:.3g}") for key, value in sorted(out.items())}


def main() -> None:
    """Read the tables where they are installed, reduce them here."""
    if sys.argv[1:] == ["--read"]:
        read_tables()
        return
    found = curves(talk(("tools.generators.build_all_reduce", "--read"), aiconfigurator, "", offline=False))
    links = {gpu["name"]: gpu["link"] for gpu in json.loads((OUT.parent / "gpus.json").read_text())["gpus"]}
    cards = {
        card: {
            str(gpus): entry(
                found[card, "vllm", gpus], found[card, "nccl", gpus], gpus,
                direct=links[card] == "nvlink" or gpus <= PEERS,
            )
            for gpus in GPUS
        }
        for card in SYSTEMS
    }  # fmt: skip
    document = {
        "source": f"{aiconfigurator.SOURCE} {aiconfigurator.VERSION} ({aiconfigurator.LICENCE}), measured kernels",
        "date": "2026-11-22",
        "refresh": "python -m tools.generators.build_all_reduce",
        "cards": cards,
    }
    OUT.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
