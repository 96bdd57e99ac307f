"""Figures of one serving pod: probes, drain, shared memory, requests, disk, start-up phases, scaling thresholds.

Each is a short rule over figures of ``catalogue/serving.json`` (source per block). Seconds, GiB, vCPU.
"""

from __future__ import annotations

import math

from sizing.catalogue.files import serving_facts
from sizing.inputs import ModelEntry
from sizing.plan import EngineSettings, Replicas, StartUp
from sizing.plan.operation import Fallback, Scaling
from sizing.units import round_up
from sizing.workload.workload import Objectives, Workload


def rise_within_lag(workload: Workload, start: StartUp, window_s: int) -> float:
    """Return the share by which traffic may grow until the replica that it asks for is ready.

    It grows from requestsPerSecond to the peak within ``rise_to_peak_s`` at the fastest, or as much in an hour as a
    stated dailyShape does; a peakFactor of 1 adds nothing. The autoscaler asks that much earlier. Planned replicas are
    not raised for it: what whole replicas leave over and the margin for the error of the throughput estimate carry it
    (``make benchmark-scaling``).
    """
    within, shares = float(serving_facts("scaling")["rise_to_peak_s"]), workload.hourly_shares
    steepest = max(after - before for before, after in zip(shares, (*shares[1:], shares[0]), strict=True))
    return max(workload.peak_factor - 1, steepest) * min(scale_up_lag_s(window_s, start) / within, 1.0)


def scale_up_lag_s(window_s: int, start: StartUp) -> float:
    """Return the seconds from more traffic to the replica that carries it: seen, decided, started."""
    facts = serving_facts("scaling")
    return float(window_s / 2 + facts["polling_s"] + facts["scale_up_window_s"] + start.total_s)


def rate_window_s(told_per_s: float) -> int:
    """Return the window over which arrivals are counted: long enough that their number says what the rate is."""
    facts = serving_facts("scaling")
    wanted = round_up(facts["rate_arrivals"] / told_per_s, 60)
    return int(min(max(wanted, facts["rate_window_min_s"]), facts["rate_window_max_s"]))


def first_decision(each: float, aside: float, least: int) -> tuple[float, float]:
    """Return the arrivals per second at which the first replica is added, and what is counted then.

    ``aside`` is counted beside arrivals, ``each`` is carried by one of the ``least`` replicas that always run.
    """
    counted = each * max(least, math.ceil(aside / each + 0.5))
    return counted - aside, counted


def late_share(calls: float) -> float:
    """Return the share of late calls that is significant: p + k sqrt(p (1 - p) / calls), at most 0.5.

    p is the promised share of late calls (one in twenty), k the deviations of a one-sided binomial bound.
    """
    promised = 1 - serving_facts("scaling")["ttft_quantile"]
    chance = math.sqrt(promised * (1 - promised) / calls)
    return float(min(promised + serving_facts("scaling")["ttft_deviations"] * chance, 0.5))


def scaling(
    engine: EngineSettings,
    entry: ModelEntry,
    start: StartUp,
    *,
    each: float,
    scale_out_gain: float = 1.0,
    least: int = 1,
    spare: int = 0,
) -> Scaling:
    """Return the autoscaler's thresholds; the scale-down window covers a cold start and chance in the arrivals.

    The autoscaler adds a replica once a metric is its tolerance above the threshold, so that of the arrivals lies the
    tolerance below what a replica carries, less the rise within the lag: replicas are asked for in time, and let go
    only when the traffic is a tolerance lower. Of the tolerance a tenth is a growth that is a reason to add one, and
    the rest chance: two standard deviations of what a window counts where the first replica is added, which is less
    than at the busiest hour.

    ``each`` are the arrivals per second of one replica; with one more, ``scale_out_gain`` times as many come, so fewer
    carry fewer each, which is counted as arrivals beside. ``least`` run always, ``spare`` stand by for a loss.
    """
    facts, workload = serving_facts("scaling"), entry.workload
    each, aside = each * scale_out_gain, workload.arrivals_per_second * (scale_out_gain - 1)
    aside += spare * each
    arrivals, counted = first_decision(each, aside, least)
    told = min(workload.burstiness, 1.0) * counted**2 / arrivals  # Poisson arrivals that would be as sure
    window_s = rate_window_s(told)
    chance = facts["tolerance_deviations"] / math.sqrt(told * window_s)
    tolerance = min(math.ceil(100 * (facts["tolerance"] + chance)) / 100, 1.0)
    usual = (1 + facts["tolerance"]) / (1 + tolerance)  # the other metrics act where they always do
    chance_s = min(facts["scale_down_arrivals"] / told, facts["scale_down_max_s"])
    down = max(facts["scale_down_min_s"], round_up(max(start.total_s, chance_s), 60))
    early = 1 + rise_within_lag(workload, start, window_s)
    waiting = min(facts["waiting_share"] * engine.max_num_seqs, facts["waiting_max"])
    return Scaling(
        requests_per_s=each / early / (1 + tolerance),
        spare_requests_per_s=aside / early,
        rate_window_s=window_s,
        waiting_requests=max(1, int(waiting * usual)),
        kv_cache_usage=facts["kv_cache_usage"] * usual,
        ttft_s=ttft_threshold_s(entry.objectives) * usual,
        ttft_quantile=round(1 - late_share(arrivals * window_s), 3),
        polling_s=facts["polling_s"],
        scale_up_tolerance=tolerance,
        scale_up_window_s=facts["scale_up_window_s"],
        scale_up_pods=facts["scale_up_pods"],
        scale_up_period_s=facts["scale_up_period_s"],
        scale_down_window_s=down,
        scale_down_pods=facts["scale_down_pods"],
        scale_down_period_s=facts["scale_down_period_s"],
        cooldown_s=max(down, round_up(facts["cooldown_over_cold_start"] * start.total_s, 60)),
    )


def ttft_threshold_s(objectives: Objectives) -> float:
    """Return the least bound of the engine's TTFT histogram that is not below the objective.

    Within a bucket a quantile is interpolated and may be far above any time that was seen; above its bound it is true.
    """
    wanted = objectives.ttft_p95_ms / 1e3
    return next((bound for bound in serving_facts("scaling")["ttft_buckets_s"] if bound >= wanted), wanted)


def fallback(replicas: Replicas, *, scale_to_zero: bool) -> Fallback:
    """Return where the autoscaler ends below, and what runs without metrics: the planned replicas."""
    return Fallback(
        least_replicas=0 if scale_to_zero else max(1, replicas.floor),
        failures=serving_facts("rollout")["fallback_failures"],
        replicas=min(max(1, replicas.expected), replicas.ceiling),
    )
