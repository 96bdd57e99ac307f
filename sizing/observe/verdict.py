"""Whether a stack should change: each reason with the figure to set.

A prediction is contradicted by a start that failed where it said yes, one that came up where it said no, a cache (in
GiB or in tokens) below its p10, or weights that differ by more than the estimate's own 90th percentile of error. A
stack is also contradicted by an engine that runs with other settings, or that holds fewer tokens than its traffic
needs. More memory than expected is no reason to change anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor

from sizing.observe.measured import Measured
from sizing.observe.prediction import OTHER_CARD, Prediction
from sizing.plan import EngineSettings, Interval

WEIGHTS_P90 = 0.03
"""The estimate's own limit for nine models out of ten (docs/reports/accuracy.md): beyond it the description differs."""
ROUNDING_GIB = 0.1
"""Differences below are those of two decimals, block rounding and the driver."""
ROUNDING_TOKENS = 0.005
SEQUENCES_STEP = 8
"""Batch sizes are captured in steps of 8."""
UTILISATION_STEP = 0.05
"""What one usually lowers the utilisation by: 4 GiB of an 80 GB card, more than graphs and context together."""
LONGEST_REASON = 160
"""Characters of an error of vLLM that are repeated; the whole of it stands in the document's ``failures``."""
STATED = ("tensor_parallel", "pipeline_parallel", "max_model_len", "max_num_seqs", "max_num_batched_tokens",
          "gpu_memory_utilization", "kv_cache_dtype", "enforce_eager")  # fmt: skip
"""Settings that a plan fixes and an engine prints."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """One figure, predicted and measured; None where one of both is not known. ``inside`` p10 to p90 where known."""

    name: str
    unit: str
    predicted: float | None
    measured: float | None
    interval: Interval | None = None

    @property
    def difference(self) -> float | None:
        """Measured less predicted."""
        if self.predicted is None or self.measured is None:
            return None
        return self.measured - self.predicted

    @property
    def error(self) -> float | None:
        """Predicted over measured, less 1; None where nothing was measured, or less than nothing."""
        if self.difference is None or self.measured is None or self.measured <= 0:
            return None
        return -self.difference / self.measured

    @property
    def inside(self) -> bool | None:
        """Whether what was measured lies between p10 and p90; None without an interval."""
        if self.interval is None or self.measured is None:
            return None
        return self.interval.p10 <= self.measured <= self.interval.p90


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether the stack should change: why, and what to set. Both are empty for a no."""

    change: bool
    reasons: tuple[str, ...]
    actions: tuple[str, ...]


def judge(measured: Measured, prediction: Prediction, terms: Mapping[str, Term]) -> Verdict:
    """Return the verdict on one engine; ``terms`` by their names."""
    another = _another_engine(measured, prediction)
    if another is not None:
        return Verdict(change=True, reasons=(another[0],), actions=another[1])
    found = [_settings_differ(measured, prediction)]
    if measured.started:
        found += [
            _ran_out(measured, prediction.engine),
            _runs_although(prediction),
            _weights_differ(terms["weights_gib"], terms["kv_cache_gib"]),
            _cache_below(terms, prediction),
            _plan_needs_more(measured, prediction),
        ]
    else:
        found.append(_did_not_start(measured, prediction))
    said = [pair for pair in found if pair is not None]
    return Verdict(
        change=bool(said),
        reasons=tuple(reason for reason, _ in said),
        actions=tuple(dict.fromkeys(action for _, actions in said for action in actions)),
    )


Finding = tuple[str, tuple[str, ...]] | None
"""A reason to change and what to set."""


def _another_engine(measured: Measured, prediction: Prediction) -> Finding:
    """A stack compared with an engine that is not its own."""
    words = []
    if prediction.other_model is not None:
        words.append(f"serves {prediction.other_model}")
    total, planned = measured.total_gib, prediction.memory.total_gib
    if prediction.stack is not None and total is not None and abs(total - planned) > OTHER_CARD * planned:
        words.append(f"has {total:g} GiB a card (planned: {prediction.gpu} with {planned:g})")
    if not words:
        return None
    return f"the engine {' and '.join(words)}", ("compare with the entry of the stack that runs it",)


def _settings_differ(measured: Measured, prediction: Prediction) -> Finding:
    """Only a stack says what an engine should run with."""
    if prediction.stack is None:
        return None
    pairs = [
        (name, measured.settings[name], getattr(prediction.engine, name))
        for name in STATED
        if name in measured.settings and measured.settings[name] != getattr(prediction.engine, name)
    ]
    if not pairs:
        return None
    words = ", ".join(f"{name} {runs} (stack: {planned})" for name, runs, planned in pairs)
    return f"the engine runs with {words}", (f"deploy {prediction.stack} again, or state these settings in it",)


def _ran_out(measured: Measured, engine: EngineSettings) -> Finding:
    if not measured.failures:
        return None
    reason = f"the engine came up and ran out of memory while serving: {_short(measured.failures[0].line)}"
    return reason, _lower(engine)


def _runs_although(prediction: Prediction) -> Finding:
    memory = prediction.memory
    if memory.fits:
        return None
    return (
        f"the engine came up, although the estimate says that it does not fit (binding: {memory.binding})",
        ("state what was measured, --weights-gib and --gpu-total-gib, where this model is sized",),
    )


def _weights_differ(weights: Term, cache: Term) -> Finding:
    """Less weight than expected matters only where the cache is not as expected either."""
    difference = weights.difference
    if difference is None or not weights.predicted:
        return None
    small = abs(difference) <= max(WEIGHTS_P90 * weights.predicted, ROUNDING_GIB)
    if small or (difference < 0 and cache.inside is True):
        return None
    way = "above" if difference > 0 else "below"
    reason = f"weights are {abs(difference):.2f} GiB {way} the estimate of {weights.predicted:.2f}"
    return reason, (f"weights_gib {weights.measured:g}, or check revision and quantisation of the checkpoint",)


def _cache_below(terms: Mapping[str, Term], prediction: Prediction) -> Finding:
    """Return the cache that is below its p10: in GiB, else in tokens of the same GiB."""
    for name, digits in (("kv_cache_gib", 2), ("kv_tokens", 0)):
        term = terms[name]
        if term.interval is None or term.measured is None or term.predicted is None:
            continue
        short = term.predicted - term.measured
        rounding = ROUNDING_GIB if name == "kv_cache_gib" else ROUNDING_TOKENS * term.predicted
        if term.measured < term.interval.p10 - rounding:
            what = "measured KV cache is" if name == "kv_cache_gib" else "tokens in the KV cache are"
            reason = (
                f"{what} {short:,.{digits}f} {term.unit} below the estimate of {term.predicted:,.{digits}f} "
                f"(p10 {term.interval.p10:,.{digits}f})"
            )
            return reason, _smaller_batch(prediction.engine, term.measured / term.predicted)
    return None


def _smaller_batch(engine: EngineSettings, share: float) -> tuple[str, ...]:
    """Return the number of sequences that leaves each the cache it was meant to have."""
    wanted = engine.max_num_seqs * max(share, 0.0)
    fewer = floor(wanted / SEQUENCES_STEP) * SEQUENCES_STEP if wanted >= SEQUENCES_STEP else max(floor(wanted), 1)
    return (f"max_num_seqs {engine.max_num_seqs} -> {fewer}",)


def _plan_needs_more(measured: Measured, prediction: Prediction) -> Finding:
    needed, held = prediction.tokens_needed, measured.kv_tokens
    if needed is None or held is None or held >= needed:
        return None
    reason = f"the plan counts on {needed:,} tokens in flight for each replica, the cache holds {held:,}"
    if not held or not prediction.replicas:
        return reason, ()
    return reason, (f"replicas {prediction.replicas} -> {-(-prediction.replicas * needed // held)}",)


def _did_not_start(measured: Measured, prediction: Prediction) -> Finding:
    first, memory = measured.failures[0], prediction.memory
    if first.kind == "failed":
        return "the engine did not start, and not for its memory: see the error in the log", ()
    if first.kind == "gpu_memory_utilization":
        return _card_in_use(measured, first.line)
    expected = "although the estimate says that it fits" if memory.fits else "as the estimate says"
    reason = f"the engine did not start, {expected}: {_short(first.line)}"
    return reason, (*_remedies(measured, prediction), *(() if memory.fits else memory.hints))


def _short(line: str) -> str:
    return line if len(line) <= LONGEST_REASON else line[:LONGEST_REASON] + "..."


def _card_in_use(measured: Measured, line: str) -> Finding:
    free, total = measured.free_gib, measured.total_gib
    if free is None or not total:
        return f"the engine did not start: {_short(line)}", ()
    held, most = total - free, floor(100 * free / total) / 100
    return (
        f"the engine did not start: {held:.2f} of {total:g} GiB are in use by others",
        (f"free the card, or gpu_memory_utilization -> {most:.2f}",),
    )


def _remedies(measured: Measured, prediction: Prediction) -> Sequence[str]:
    engine = prediction.engine
    if measured.longest_model_len:
        return (f"max_model_len {engine.max_model_len} -> {measured.longest_model_len}",)
    if measured.failures[0].kind == "out_of_memory":
        return _lower(engine)
    return ()


def _lower(engine: EngineSettings) -> tuple[str, ...]:
    """Return what leaves more of the card to what lives outside the cache."""
    lower = max(engine.gpu_memory_utilization - UTILISATION_STEP, UTILISATION_STEP)
    return f"gpu_memory_utilization {engine.gpu_memory_utilization:g} -> {lower:.2f}", *_smaller_batch(engine, 0.5)
