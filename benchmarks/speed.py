"""Speed of the core and of the command, as ratios measured side by side in one run.

Absolute times depend on the machine, so each line compares with a yardstick taken in the same minute: a bare
interpreter start for commands, reading the settings for the planner. Of a command wall time and
CPU time are printed: on a shared machine they differ, and only the second is the command's own.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TONNAGE = str(Path(sys.executable).parent / "tonnage")


def seconds(action: Callable[[], object], repeats: int = 5) -> float:
    """Return the median wall time of ``action``."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def of_command(*arguments: str, repeats: int = 5) -> tuple[float, float]:
    """Return the median time that a whole process takes, and that of the processor."""
    used: list[float] = []

    def call() -> None:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(arguments, cwd=ROOT, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    return seconds(call, repeats), statistics.median(used)


def main() -> None:
    """Print the table."""
    model = "meta-llama/Llama-3.1-8B-Instruct"
    traffic = ("--requests-per-second", "6", "--input-tokens", "900", "--output-tokens", "250")
    rows = {
        "python -c pass": of_command(sys.executable, "-c", "pass"),
        "tonnage --help": of_command(TONNAGE, "--help"),
        "tonnage size": of_command(TONNAGE, "size", model, "--gpu", "L4", "--max-model-len", "8192"),
        "tonnage plan": of_command(TONNAGE, "plan", model, *traffic),
        "tonnage preview prod": of_command(TONNAGE, "preview", "prod", repeats=3),
        "  --format json": of_command(TONNAGE, "preview", "prod", "--format", "json", repeats=3),
    }
    bare = rows["python -c pass"][1]
    print(f"{'command':24}{'seconds':>9}{'processor':>11}{'x bare start':>14}")
    for name, (passed, used) in rows.items():
        print(f"{name:24}{passed:9.3f}{used:11.3f}{used / bare:14.1f}")
    plan_ratio()


def plan_ratio() -> None:
    """Print how long a plan of prod takes against reading its settings."""
    from infra.config import settings_from_file
    from infra.program import planned_for
    from sizing.catalogue import load_catalogue

    path = ROOT / "stacks" / "Pulumi.prod.yaml"
    settings = settings_from_file(path)
    first = seconds(lambda: planned_for.__wrapped__(settings, "prod", load_catalogue()), 1)
    planning = seconds(lambda: planned_for.__wrapped__(settings, "prod", load_catalogue()), 10)
    reading = seconds(lambda: settings_from_file(path), 10)
    print(f"planning prod: {planning * 1000:.1f} ms, {planning / reading:.1f} x reading its settings")
    print(f"planning prod the first time in a process: {first * 1000:.1f} ms")
    for count in (1, 5, 10, 50):
        many = seconds(lambda: plan_many(count), 3)  # noqa: B023 (called at once)
        print(f"planning {count} models: {many * 1000:.1f} ms, {many / count * 1000:.1f} ms each")


def plan_many(count: int) -> None:
    """Plan ``count`` models of different traffic."""
    from sizing.catalogue import load_catalogue
    from sizing.inputs import Budget, Capacity, ModelEntry
    from sizing.planning.planner import plan_stack
    from sizing.planning.request import PlanRequest
    from sizing.workload.workload import Workload

    entries = [
        ModelEntry(
            name=f"m{number}",
            model="meta-llama/Llama-3.1-8B-Instruct",
            workload=Workload(requests_per_second=1 + number / 7, input_tokens=900, output_tokens=250),
        )
        for number in range(count)
    ]
    request = PlanRequest(
        stack="many", models=tuple(entries), capacity=Capacity(), budget=Budget(monthly_usd=1e8), region="us-east-1",
        catalogue=load_catalogue(), vector_store=None, internet_facing=False,
 gateway_proxies=2,
    )  # fmt: skip
    plan_stack(request)


if __name__ == "__main__":
    main()
