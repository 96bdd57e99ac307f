"""What a vLLM start-up log says: settings, memory by term and rank, capacity, times, and why a start failed.

V0 and V1, every wording since 0.6 (what 0.4 and 0.5 print alike is read too); the wordings stand in ``log_wordings``,
and ``tests/data/startup-logs`` holds excerpts of real logs with their addresses. Sizes are GiB (2**30): logs before
0.8.3 label the same division GB. One log may hold several starts (a container that restarts); the last one with figures
counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sizing.errors import BadInput
from sizing.observe.logs.lines import LONGEST_LINE, WHERE, log_lines
from sizing.observe.logs.settings import Setting
from sizing.observe.logs.wordings import WHILE_SERVING, Draft, Failure, read_record

CLOSES_GIB = 0.03
"""Two decimals of up to four printed terms: a sum that differs by less is the same sum."""


@dataclass(frozen=True, kw_only=True)
class RankMemory:
    """What one rank printed, in GiB; None where it printed nothing.

    ``peak_activation_gib`` is without the estimate of the CUDA graphs, which newer versions print within it.
    ``cuda_graph_gib`` is what capturing took, ``cuda_graph_estimate_gib`` what was expected before it.
    """

    rank: str
    weights_gib: float | None = None
    peak_activation_gib: float | None = None
    non_torch_gib: float | None = None
    cuda_graph_gib: float | None = None
    cuda_graph_estimate_gib: float | None = None
    kv_cache_gib: float | None = None
    total_gib: float | None = None
    free_gib: float | None = None
    requested_gib: float | None = None


@dataclass(frozen=True, kw_only=True)
class StartupLog:
    """One start of one engine. ``arguments`` are its settings under the names of vLLM's own arguments."""

    vllm_version: str | None
    engine: str | None
    model: str | None
    architecture: str | None
    device: str | None
    gpu_name: str | None
    arguments: Mapping[str, Setting]
    ranks: tuple[RankMemory, ...]
    kv_tokens: int | None
    num_gpu_blocks: int | None
    max_concurrency: float | None
    max_concurrency_tokens: int | None
    kv_needed_gib: float | None
    """What one request of the full length needs, printed when it does not fit."""
    longest_model_len: int | None
    """Longest request that would have fitted, printed when the wanted one did not."""
    graphs_in_budget: bool | None
    """Whether the estimate of the CUDA graphs was taken from the cache; None where the log does not say."""
    checkpoint_gib: float | None
    load_weights_s: float | None
    compile_s: float | None
    graph_capture_s: float | None
    init_engine_s: float | None
    ready: bool
    failures: tuple[Failure, ...]
    starts: int

    def most(self, term: str) -> float | None:
        """Return the largest value of a term of ``RankMemory`` over the ranks; None when no rank printed it."""
        return max(self._values(term), default=None)

    def least(self, term: str) -> float | None:
        """Return the smallest value of a term over the ranks; the cache of the tightest rank counts."""
        return min(self._values(term), default=None)

    def _values(self, term: str) -> list[float]:
        return [value for rank in self.ranks if (value := getattr(rank, term)) is not None]

    @property
    def started(self) -> bool:
        """True when the engine came up: it said so, or reported its capacity and no failure to start."""
        failed = any(failure.kind != WHILE_SERVING for failure in self.failures)
        return not failed and (self.ready or self.kv_tokens is not None or self.max_concurrency is not None)


_RECORD = re.compile(
    r"\(\w[\w =.-]{0,60}\bpid=\d|\b(?:INFO|WARNING|ERROR|DEBUG|CRITICAL)\b|Loading |Capturing |Traceback|\w{1,60}Error:"
)
_RECORD_WITHIN = 200
_SERVING = (" tokens/s, Running: ", " HTTP/1.")
"""Lines of a server at work, most of a long log: throughput and requests."""
_START = re.compile(r"vLLM API server version|non-default args: |█  version ")
_ENGINE = re.compile(r"Initializing an? (?:V[01] )?LLM engine ")
_OWN = ("vllm_version", "engine", "kv_tokens", "max_concurrency", "num_gpu_blocks", "graphs_in_budget", "init_engine")


def parse_startup_log(chunks: Iterable[bytes]) -> StartupLog:
    """Return what the last start in a log says. ``chunks`` are its bytes in any cut.

    Raises BadInput, and nothing else whatever the bytes, for a log that is too large, is no text, or holds no line of
    a vLLM start-up.
    """
    before: Draft | None = None
    draft, lines, starts = Draft(), 0, 1
    for record in _records(log_lines(chunks)):
        lines += len(record)
        if _begins_anew(draft, record[0]):
            before, draft, starts = draft, Draft(), starts + 1
        read_record(draft, record)
    found = before if before is not None and not draft.measured else draft
    if not _is_vllm(found):
        problem = f"none of its {lines} lines is of a vLLM start-up"
        raise BadInput(WHERE, problem, way_out="give the log of `vllm serve` from its first line")
    return _finished(found, starts)


def _is_vllm(draft: Draft) -> bool:
    """Return True when something was read that only vLLM prints; any program can run out of memory."""
    refused = any(failure.kind not in {"out_of_memory", "failed"} for failure in draft.failures)
    terms = any(values.keys() - {"total"} for values in draft.ranks.values())
    processes = any(re.match(r"Vllm|EngineCore|Worker_", name) for name in draft.names.values())
    return refused or terms or processes or any(key in draft.facts for key in _OWN)


def _records(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yield each line with the lines that follow it without a beginning of their own, up to the limit of a line."""
    held: list[str] = []
    size = 0
    for line in lines:
        if any(phrase in line for phrase in _SERVING):
            continue
        if held and (size + len(line) > LONGEST_LINE or _RECORD.search(line, 0, _RECORD_WITHIN)):
            yield held
            held, size = [], 0
        held.append(line)
        size += len(line)
    if held:
        yield held


def _begins_anew(draft: Draft, line: str) -> bool:
    """Return True where another start begins: its first lines after figures of the one before."""
    if not draft.measured:
        return False
    several = int(draft.arguments.get("data_parallel_size", 1)) > 1
    return bool(_START.search(line)) or (bool(_ENGINE.search(line)) and "engine" in draft.facts and not several)


def _finished(draft: Draft, starts: int) -> StartupLog:
    facts, arguments = draft.facts, draft.arguments
    utilizations = [values["utilization"] for values in draft.ranks.values() if "utilization" in values]
    if utilizations:
        arguments.setdefault("gpu_memory_utilization", utilizations[-1])
    inside = facts.get("graphs_in_budget")
    reasons = [failure for failure in draft.failures if failure.kind != "failed"]
    model = arguments.get("model", facts.get("banner_model"))
    return StartupLog(
        vllm_version=_text(facts, "vllm_version"),
        engine=_text(facts, "engine"),
        model=str(model) if model is not None else None,
        architecture=_text(facts, "architecture"),
        device=_text(facts, "device"),
        gpu_name=_text(facts, "gpu_name"),
        arguments=dict(sorted(arguments.items())),
        ranks=_ranks(draft, graphs_in_budget=inside is not False),
        kv_tokens=_whole(facts, "kv_tokens"),
        num_gpu_blocks=_whole(facts, "num_gpu_blocks"),
        max_concurrency=_float(facts, "max_concurrency"),
        max_concurrency_tokens=_whole(facts, "max_concurrency_tokens"),
        kv_needed_gib=_float(facts, "kv_needed"),
        longest_model_len=_whole(facts, "longest_model_len"),
        graphs_in_budget=inside if isinstance(inside, bool) else None,
        checkpoint_gib=_float(facts, "checkpoint"),
        load_weights_s=_float(facts, "load_weights"),
        compile_s=_float(facts, "compile"),
        graph_capture_s=_float(facts, "graph_capture"),
        init_engine_s=_float(facts, "init_engine"),
        ready=facts.get("ready") is True,
        failures=tuple(reasons or draft.failures),
        starts=starts,
    )


def _ranks(draft: Draft, *, graphs_in_budget: bool) -> tuple[RankMemory, ...]:
    """Return the ranks in the order of the numbers in their names."""
    by_name = sorted(draft.ranks.items(), key=lambda item: _by_number(draft.names[item[0]]))
    return tuple(_rank(draft.names[key], values, graphs_in_budget=graphs_in_budget) for key, values in by_name)


def _by_number(name: str) -> tuple[list[int], str]:
    return [int(number) for number in re.findall(r"\d{1,10}", name)], name


def _text(facts: Mapping[str, object], key: str) -> str | None:
    value = facts.get(key)
    return str(value) if value is not None else None


def _float(facts: Mapping[str, Setting], key: str) -> float | None:
    value = facts.get(key)
    return float(value) if value is not None else None


def _whole(facts: Mapping[str, Setting], key: str) -> int | None:
    value = facts.get(key)
    return int(value) if value is not None else None


def _rank(name: str, values: Mapping[str, float], *, graphs_in_budget: bool) -> RankMemory:
    """Return the terms of one rank; what was printed only as part of a sum is the rest of that sum."""
    weights = values.get("weights", values.get("profiled_weights"))
    return RankMemory(
        rank=name,
        weights_gib=weights,
        peak_activation_gib=_activation(values, weights, graphs_in_budget=graphs_in_budget),
        non_torch_gib=values.get("non_torch", _difference(values.get("consumed"), weights)),
        cuda_graph_gib=values.get("graphs"),
        cuda_graph_estimate_gib=values.get("graph_estimate"),
        kv_cache_gib=values.get("kv", values.get("kv_in_use", values.get("kv_short"))),
        total_gib=values.get("total"),
        free_gib=values.get("free"),
        requested_gib=values.get("requested"),
    )


def _difference(whole: float | None, part: float | None) -> float | None:
    return None if whole is None or part is None else round(whole - part, 4)


def _activation(values: Mapping[str, float], weights: float | None, *, graphs_in_budget: bool) -> float | None:
    """Return the peak activation alone.

    V0 up to 0.6.4 prints the peak of the allocator with the weights in it. V1 since 0.26 prints the peak with the
    estimate of the graphs in it: there the requested memory is used up without adding the estimate once more.
    """
    if "torch_peak" in values:
        return _difference(values["torch_peak"], weights)
    printed, estimate = values.get("activation"), values.get("graph_estimate", 0.0)
    if printed is None or not (graphs_in_budget and estimate):
        return printed
    used = values.get("consumed")
    if used is None and weights is not None and "non_torch" in values:
        used = weights + values["non_torch"]
    if used is None or "requested" not in values or "kv" not in values:
        return printed
    left = values["requested"] - used - printed - values["kv"]
    return round(printed - estimate, 4) if abs(left) <= CLOSES_GIB < abs(left - estimate) else printed
