"""Wordings of vLLM's start-up lines, V0 and V1, and what is kept of each.

Read in the sources of 0.32 and in public logs of the versions since 0.6. A line is searched for a phrase before its
pattern is tried, so that the long rest of a log costs little. Every pattern is linear in the length of the line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sizing.observe.logs.settings import Setting, engine_arguments
from sizing.units import GIB

MOST_RANKS = 1024
MOST_FAILURES = 16
LONGEST_FAILURE = 400
WHILE_SERVING = "out_of_memory_while_serving"
"""A failure after the start: the engine came up and ran out of memory under load."""
NUMBER = r"(-?\d{1,9}(?:\.\d{1,9})?)"
COUNT = r"(\d[\d,]{0,14})"
SIZE = NUMBER + r" ?Gi?B"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why the engine did not start, or died: one of ``FAILURES`` or ``WHILE_SERVING``, and the line as printed."""

    kind: str
    line: str


@dataclass
class Draft:
    """A start while it is read."""

    facts: dict[str, Setting] = field(default_factory=dict)
    arguments: dict[str, Setting] = field(default_factory=dict)
    ranks: dict[str, dict[str, float]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    @property
    def measured(self) -> bool:
        """True once a figure or a failure was read."""
        return bool(self.ranks or self.failures or "kv_tokens" in self.facts or "max_concurrency" in self.facts)

    def rank(self, prefix: str) -> dict[str, float]:
        """Return the terms of the rank that printed ``prefix``, by its process; a dict of its own beyond the limit."""
        key = _rank_key(prefix)
        if key not in self.ranks and len(self.ranks) >= MOST_RANKS:
            return {}
        if re.search(r"\d", prefix.partition(" pid=")[0]) or key not in self.names:
            self.names[key] = _rank_name(prefix)
        return self.ranks.setdefault(key, {})


def _rank_key(prefix: str) -> str:
    """Return what stays the same when a worker learns its rank: its process, and its host under Ray."""
    found = re.search(r"pid=\d+(?:, ip=[\w.:]+)?", prefix)
    return found[0] if found else prefix


def _rank_name(prefix: str) -> str:
    name, _, rest = prefix.partition(" pid=")
    return name if re.search(r"\d", name) and "ip=" not in rest else prefix


Match = re.Match[str]


Handler = Callable[[Draft, str, Match], None]


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def _rank_terms(*terms: str) -> Handler:
    """Return a handler that keeps the groups of a match as terms of the rank that printed it."""

    def keep(draft: Draft, prefix: str, match: Match) -> None:
        values = draft.rank(prefix)
        for term, text in zip(terms, match.groups(), strict=True):
            values[term] = _number(text)

    return keep


def _facts(*names: str) -> Handler:
    """Return a handler that keeps the groups of a match as numbers of the engine; the last one printed counts."""

    def keep(draft: Draft, _prefix: str, match: Match) -> None:
        for name, text in zip(names, match.groups(), strict=True):
            draft.facts[name] = _number(text)

    return keep


def _words(*names: str) -> Handler:
    """Return a handler that keeps the groups of a match as text of the engine; the first one printed counts."""

    def keep(draft: Draft, _prefix: str, match: Match) -> None:
        for name, text in zip(names, match.groups(), strict=True):
            draft.facts.setdefault(name, text)

    return keep


def _said(name: str, value: bool) -> Handler:
    """Return a handler for a sentence that holds no number."""

    def keep(draft: Draft, _prefix: str, _match: Match) -> None:
        draft.facts[name] = value

    return keep


def _slowest(name: str) -> Handler:
    """Return a handler for seconds that every rank prints: the slowest counts."""

    def keep(draft: Draft, _prefix: str, match: Match) -> None:
        draft.facts[name] = max(_number(match[1]), float(draft.facts.get(name, 0.0)))

    return keep


def _scarcest(*names: str) -> Handler:
    """Return a handler for capacities that several ranks or engines print: the smallest counts."""

    def keep(draft: Draft, _prefix: str, match: Match) -> None:
        for name, text in zip(names, match.groups(), strict=True):
            draft.facts[name] = min(_number(text), float(draft.facts.get(name, float("inf"))))

    return keep


def _setting(name: str) -> Handler:
    """Return a handler for a setting that the engine changed or resolved after printing its arguments."""

    def keep(draft: Draft, _prefix: str, match: Match) -> None:
        draft.arguments[name] = int(_number(match[1]))

    return keep


def _weights(draft: Draft, prefix: str, match: Match) -> None:
    """V0 prints a second line for a draft model; V1 prints one line for both."""
    values = draft.rank(prefix)
    drafted = draft.facts.get("engine") == "V0" and "speculative_model" in draft.arguments
    values["weights"] = _number(match[1]) + (values.get("weights", 0.0) if drafted else 0.0)


def _kv_bytes(draft: Draft, prefix: str, match: Match) -> None:
    draft.rank(prefix)["kv_in_use"] = _number(match[1]) / GIB


def _device(draft: Draft, _prefix: str, match: Match) -> None:
    draft.facts["device"] = match[1]


def _engine(draft: Draft, _prefix: str, match: Match) -> None:
    kind, version, rest = match.groups()
    if version and version[0].isdigit():
        draft.facts["vllm_version"] = version
    draft.facts["engine"] = kind or "V0"
    draft.arguments |= engine_arguments(rest)


def _arguments(draft: Draft, _prefix: str, match: Match) -> None:
    draft.arguments |= engine_arguments(match[1])


PROFILE_OF_0_6_4 = (
    rf"total_gpu_memory={SIZE},? initial_memory_usage={SIZE},? peak_torch_memory={SIZE},? "
    rf"memory_usage_post_profile={NUMBER}Gi[Bb],? non_torch_memory={SIZE},? kv_cache_size={SIZE},? "
    rf"gpu_memory_utilization={NUMBER}"
)


PROFILE_OF_V0 = (
    rf"model weights take {SIZE}; non_torch_memory takes {SIZE}; PyTorch activation peak memory takes {SIZE}; "
    rf"the rest of the memory reserved for KV Cache is {SIZE}"
)


USAGE_BY_TERM = (
    rf"Actual usage is {SIZE} for weight, {SIZE} for peak activation, {SIZE} for non-torch memory, "
    rf"and {SIZE} for CUDAGraph"
)


USAGE_TOGETHER = (
    rf"Actual usage is {SIZE} for consumed memory \(weights \+ non-torch\), {SIZE} for peak activation, "
    rf"and {SIZE} for CUDAGraph"
)


ENGINE_LINE = r"Initializing an? (?:(V[01]) )?LLM engine (?:\(v(\d[^)\s]{0,60}|dev)\) )?with config: (.*)"
FIGURES: tuple[tuple[str, str, Handler], ...] = (
    ("API server version", r"vLLM API server version v?(\d[\w.+-]{0,60})", _words("vllm_version")),
    ("█  version ", r"█  version (\d[\w.+-]{0,60})", _words("vllm_version")),
    ("█  model ", r"█  model {1,4}(\S.{0,300}?)\s*$", _words("banner_model")),
    ("args: ", r"(?:non-default )?args: ((?:\{|Namespace\().*)", _arguments),
    (" LLM engine ", ENGINE_LINE, _engine),
    ("Resolved architecture", r"Resolved architecture: (\w{1,100})", _words("architecture")),
    ("max model len", r"Using max model len (\d{1,9})", _setting("max_model_len")),
    ("max_num_batched_tokens=", r"Chunked prefill is enabled with max_num_batched_tokens=(\d{1,9})",
     _setting("max_num_batched_tokens")),
    ("Raising max_num_batched_tokens", r"max_num_batched_tokens from \d{1,9} to (\d{1,9})",
     _setting("max_num_batched_tokens")),
    ("device_name=", r"device_name=(\w[\w-]{1,60})", _words("gpu_name")),
    ("Your device '", r"Your device '([^']{1,60})'", _words("gpu_name")),
    ("Your NVIDIA ", r"Your (NVIDIA [^(]{1,60}?) GPU", _words("gpu_name")),
    ("Checkpoint size", r"Checkpoint size: " + SIZE, _facts("checkpoint")),
    ("oading", r"(?:Loading model weights|Model loading) took " + SIZE, _weights),
    ("Loading weights took", r"Loading weights took " + NUMBER + " s", _slowest("load_weights")),
    ("total_gpu_memory (", rf"total_gpu_memory \({SIZE}\) ?x ?gpu_memory_utilization \({NUMBER}\) ?= ?{SIZE}",
     _rank_terms("total", "utilization", "requested")),
    ("model weights take", PROFILE_OF_V0, _rank_terms("profiled_weights", "non_torch", "activation", "kv")),
    ("peak_torch_memory=", PROFILE_OF_0_6_4,
     _rank_terms("total", "initial", "torch_peak", "post_profile", "non_torch", "kv", "utilization")),
    ("torch peak memory increase", rf"torch peak memory increase: {SIZE}", _rank_terms("activation")),
    ("non-torch forward increase", rf"non-torch forward increase memory: {SIZE}", _rank_terms("non_torch")),
    ("total consumed (", rf"total consumed \([^)]{{1,40}}\): {SIZE}", _rank_terms("consumed")),
    ("weights memory: ", rf"weights memory: {SIZE}", _rank_terms("profiled_weights")),
    ("Requested memory: ", rf"Initial free memory: {SIZE}; Requested memory: {NUMBER} \(util\), {SIZE}",
     _rank_terms("free", "utilization", "requested")),
    ("Available KV cache memory", rf"Available KV cache memory: {SIZE}", _rank_terms("kv")),
    ("cache memory in use", rf"[Cc]urrent kv cache memory in use is {SIZE}", _rank_terms("kv_in_use")),
    ("cache memory in use", r"kv cache memory in use is (\d{1,15}) bytes", _kv_bytes),
    ("reserved ", rf"reserved {SIZE} memory for KV Cache as specified", _rank_terms("kv")),
    ("for KV cache on node", rf"\({NUMBER}/{NUMBER}\) GiB for KV cache on node", _rank_terms("kv", "total")),
    ("on startup", rf"Free memory on device(?: [\w:]{{1,20}})? \({NUMBER}/{NUMBER} GiB\) on startup",
     _rank_terms("free", "total")),
    ("GPU memory utilization", rf"[Dd]esired GPU memory utilization (?:is )?\({NUMBER}, {SIZE}\)",
     _rank_terms("utilization", "requested")),
    ("Actual usage is", USAGE_BY_TERM, _rank_terms("profiled_weights", "activation", "non_torch", "graphs")),
    ("Actual usage is", USAGE_TOGETHER, _rank_terms("consumed", "activation", "graphs")),
    ("Estimated CUDA graph memory", rf"Estimated CUDA graph memory: {SIZE}", _rank_terms("graph_estimate")),
    ("CUDA graph pool memory", rf"CUDA graph pool memory: {SIZE} \(actual\), {SIZE} \(estimated\)",
     _rank_terms("graphs", "graph_estimate")),
    ("Graph capturing", rf"Graph capturing finished in {NUMBER} secs", _slowest("graph_capture")),
    ("Graph capturing", rf"Graph capturing finished in {NUMBER} secs, took {SIZE}", _rank_terms("capture_s", "graphs")),
    ("profiling is enabled", r"CUDA graph memory profiling is enabled", _said("graphs_in_budget", True)),
    ("profiling is disabled", r"CUDA graph memory profiling is disabled", _said("graphs_in_budget", False)),
    ("will be enabled by", r"CUDA graph memory profiling will be enabled", _said("graphs_in_budget", False)),
    ("KV cache size", rf"[A-Z]{{3}}(?: \+ host)? KV cache size: {COUNT} tokens", _scarcest("kv_tokens")),
    ("KV cache size", r"([A-Z]{3})(?: \+ host)? KV cache size: \d", _device),
    ("Maximum concurrency", rf"Maximum concurrency for {COUNT} tokens per request: {NUMBER}x",
     _scarcest("max_concurrency_tokens", "max_concurrency")),
    (" blocks: ", rf"# (?:GPU|CUDA|cuda) blocks: {COUNT}", _scarcest("num_gpu_blocks")),
    ("num_gpu_blocks is", rf"num_gpu_blocks is: {COUNT}", _scarcest("num_gpu_blocks")),
    ("torch.compile t", rf"torch\.compile (?:takes|took) {NUMBER} s in total", _slowest("compile")),
    ("init engine (", rf"init engine \([^)]{{1,80}}\) took {NUMBER} s", _facts("init_engine")),
    ("startup complete", r"Application startup complete", _said("ready", True)),
    ("Starting vLLM ", r"Starting vLLM (?:API )?server", _said("ready", True)),
    ("max seq len (", r"max seq len \((\d{1,9})\)", _setting("max_model_len")),
    ("KV cache is needed", rf"\(?{SIZE} KV cache is needed", _facts("kv_needed")),
    ("available KV cache memory (", rf"available KV cache memory \({SIZE}\)", _rank_terms("kv_short")),
    ("maximum model length is", r"estimated maximum model length is (\d{1,9})", _facts("longest_model_len")),
    ("stored in KV cache", r"that can be stored in KV cache \((\d{1,9})\)", _facts("longest_model_len")),
    ("total capacity of", rf"out of memory.{{1,80}}total capacity of {SIZE}", _rank_terms("total")),
)  # fmt: skip
"""A phrase, the wording that holds it, and what is kept of the wording."""


ALWAYS_JOINED = (_engine, _arguments)
"""Long lines: what is read of their first part is read again when the rest of a wrapped line is there."""
FAILURES: tuple[tuple[str, str, str], ...] = (
    ("out_of_memory", "out of memory", r"(?:CUDA|HIP) out of memory(?:\. Tried to allocate| occurred| on device)"),
    ("kv_cache", "KV cache is needed", r"To serve at least one request .{1,60}GiB KV cache is needed"),
    ("kv_cache", "stored in KV cache", r"The model's max seq len \(\d{1,9}\) is larger than the maximum"),
    ("kv_cache", "No available memory for", r"No available memory for the cache blocks"),
    ("gpu_memory_utilization", "is less than", r"Free memory on device.{1,60}is less than (?:desired|the engine)"),
    ("profiling", "Error in memory profiling", r"Error in memory profiling"),
    ("failed", "ailed", r"EngineCore failed to start|Engine core initialization failed"),
)
"""Why starts fail, a phrase, and the wording. ``failed`` is the end without its reason."""


_FIGURES = tuple((phrase, re.compile(pattern), handler) for phrase, pattern, handler in FIGURES)
_FAILURES = tuple((kind, phrase, re.compile(pattern)) for kind, phrase, pattern in FAILURES)
_PREFIX = re.compile(r"\(([A-Za-z_][\w =.-]{0,60}\bpid=\d{1,10}(?:, ip=[\w.:]{1,45})?)\)")
PREFIX_WITHIN = 400
"""Characters in which a line names its process; what stands before them is written by collectors."""


def read_record(draft: Draft, lines: Sequence[str]) -> None:
    """Add to ``draft`` what a record says: one line, or a line and the lines that a terminal wrapped it into."""
    read = {index for line in lines for index in _read(draft, line, frozenset())}
    if len(lines) > 1:
        done = frozenset(index for index in read if _FIGURES[index][2] not in ALWAYS_JOINED)
        _read(draft, "".join(lines), done)


def _read(draft: Draft, line: str, done: frozenset[int]) -> list[int]:
    found: list[int] = []
    for index, (phrase, pattern, handler) in enumerate(_FIGURES):
        if phrase in line and index not in done and (match := pattern.search(line)):
            found.append(index)
            handler(draft, _prefix(line, match.start()), match)
    for kind, phrase, failure in _FAILURES:
        if phrase in line and (match := failure.search(line)):
            _fail(draft, kind, line[match.start() : match.start() + LONGEST_FAILURE])
    return found


def _prefix(line: str, end: int) -> str:
    """Return which process printed the line; two may have begun it, the last one wrote it."""
    found = _PREFIX.findall(line, 0, min(end, PREFIX_WITHIN))
    return found[-1] if found else ""


def _fail(draft: Draft, kind: str, text: str) -> None:
    ready = draft.facts.get("ready") is True
    after_start = ready and kind != "out_of_memory"
    kind = WHILE_SERVING if ready else kind
    known = kind in {failure.kind for failure in draft.failures}
    if not (after_start or known or len(draft.failures) >= MOST_FAILURES):
        draft.failures.append(Failure(kind=kind, line=" ".join(text.split())))
