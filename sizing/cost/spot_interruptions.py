"""Spot interruptions: how often nodes are reclaimed, how much capacity is missing, and the saving net of it.

    rate       = -ln(1 - share of instances reclaimed in a month) / 730              reclaims per node and hour
    missing    = rate x start-up / (1 + rate x start-up)                             share of the time, per node
    P(k of n)  = C(n, k) x (1 - missing)^k x missing^(n - k)                         nodes that run
    net saving = n x (on demand - spot) - starting - fallback - spare nodes x spot
    starting   = rate x n x start-up x spot                                          paid before a replica serves
    fallback   = min(rate x fallback share x fallback hours, 1) x n x (on demand - spot)

A reclaim is announced ``notice_s`` ahead; from then on replicas of the node take no new requests and a replacement is
bought, so a start-up (node, image, weights, warm-up) is missing. Nodes are independent. Rates and assumptions are in
``catalogue/spot_interruptions.json``. Prices are USD per hour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sizing.catalogue.files import dated_file
from sizing.plan import Figure, NodePoolPlan, Replicas, ServingPlan, StartUp
from sizing.units import HOURS_PER_DAY, HOURS_PER_MONTH, SECONDS_PER_HOUR

MOST_SPARE_NODES = 100


@dataclass(frozen=True, kw_only=True)
class SpotOutlook:
    """Effect of spot nodes on the capacity and cost of one model."""

    at_peak: bool
    """True where the planned traffic needs no spot: the figures are those of the ceiling."""
    shared: bool
    """True where other models run on the same nodes: ``spot_replicas`` is then an upper bound."""
    replicas: int
    spot_replicas: int
    spot_nodes: int
    band: str
    """Share of instances reclaimed in a month, as AWS publishes it: the worst of the pool's instance types."""
    reclaims_per_node_hour: float
    interruptions_per_day: float
    replacement_s: float
    share_lost: float
    """Mean share of all replicas that are missing."""
    promise_share: float
    at_least: int
    """Replicas that run for at least ``promise_share`` of the time."""
    all_there_share: float
    spare_nodes: int
    """Additional spot nodes with which the needed ones run for ``promise_share`` of the time."""
    after_zone_loss: int
    """Replicas left when one zone loses all its spot nodes at once."""
    saving_usd_per_hour: float
    net_saving_usd_per_hour: float
    """Saving minus start-ups, replacements on demand and spare nodes."""

    @property
    def sentence(self) -> str:
        """The outlook in one line."""
        pays = f"saves {self.net_saving_usd_per_hour:.2f} USD/h net of {self.saving_usd_per_hour:.2f}"
        when = " at the peak" if self.at_peak else ""
        return (
            f"spot{when}: {'up to ' if self.shared else ''}{self.spot_replicas} of {self.replicas} replicas, "
            f"{self.interruptions_per_day:.2g} interruptions a day, "
            f"at least {self.at_least} in {self.promise_share:.0%} of the time, "
            + (pays if self.net_saving_usd_per_hour > 0 else "does not pay")
        )


def region_of(pool: NodePoolPlan) -> str:
    """Return the region of a pool's zone ids; empty when the catalogue does not know them."""
    zones: dict[str, list[str]] = dated_file("instances")["zone_ids"]
    return next((region for region, known in sorted(zones.items()) if set(pool.zones) & set(known)), "")


def reclaim_band(instance_type: str, region: str) -> int:
    """Return the index of the band of one type in one region; ``unknown_band`` where nothing is published."""
    facts = dated_file("spot_interruptions")
    for row in facts["instances"]:
        if row["instance_type"] == instance_type and region in row["band"]:
            return int(row["band"][region])
    return int(facts["unknown_band"])


def reclaims_per_node_hour(band: int) -> float:
    """Return the constant hazard rate: -ln(1 - share reclaimed in a month) / 730."""
    share = dated_file("spot_interruptions")["bands"][band]["planned_share_per_month"]
    return -math.log1p(-share) / HOURS_PER_MONTH


def missing_share(rate_per_hour: float, replacement_s: float) -> float:
    """Return the share of the time that a node is missing: it runs 1 / rate, then its replacement starts."""
    away = rate_per_hour * replacement_s / SECONDS_PER_HOUR
    return away / (1 + away)


def share_with_at_least(count: int, nodes: int, missing: float) -> float:
    """Return P(at least ``count`` of ``nodes`` run), each missing with probability ``missing``."""
    if count <= 0 or missing <= 0:
        return 1.0 if count <= nodes else 0.0
    if count <= nodes / 2:
        return 1 - math.fsum(_exactly(k, nodes, missing) for k in range(count))
    return math.fsum(_exactly(k, nodes, missing) for k in range(count, nodes + 1))


def _exactly(count: int, nodes: int, missing: float) -> float:
    """Return P(exactly ``count`` of ``nodes`` run), computed in logarithms: 1000 nodes would overflow."""
    ways = math.lgamma(nodes + 1) - math.lgamma(count + 1) - math.lgamma(nodes - count + 1)
    return math.exp(ways + count * math.log1p(-missing) + (nodes - count) * math.log(missing))


def nodes_there(nodes: int, missing: float, share: float) -> int:
    """Return how many of ``nodes`` run for at least ``share`` of the time."""
    return next(count for count in range(nodes, -1, -1) if share_with_at_least(count, nodes, missing) >= share)


def spare_nodes(needed: int, missing: float, share: float) -> int:
    """Return how many nodes above ``needed`` make ``needed`` of them run for ``share`` of the time."""
    for spare in range(MOST_SPARE_NODES):
        if share_with_at_least(needed, needed + spare, missing) >= share:
            return spare
    return MOST_SPARE_NODES


def spot_outlook(
    pools: Sequence[NodePoolPlan], replicas: Replicas, per_node: int, start: StartUp, *, part: float = 1.0
) -> SpotOutlook | None:
    """Return the outlook of one model's pools; None without spot.

    Taken at the planned traffic, or at the ceiling where the planned traffic needs no spot. Spot is bought first, so
    there may be more spot nodes than the bill counts. In shared pools the worst case of each model is taken: its
    replicas fill the spot nodes first, and any of these may be reclaimed. Savings are its ``part`` of the pools' cost.
    """
    pool = next((one for one in pools if one.capacity_type == "spot" and one.ceiling_instances), None)
    if pool is None:
        return None
    planned = pool.expected_instances > 0
    above = sum(one.expected_instances for one in pools if one.kind == "karpenter")
    nodes = min(above, pool.ceiling_instances) if planned else pool.ceiling_instances
    count = replicas.expected if planned else replicas.ceiling
    on_spot = min(nodes * per_node, count)
    facts, region = dated_file("spot_interruptions"), region_of(pool)
    band = max(reclaim_band(offer.instance_type, region) for offer in pool.offers)
    rate = reclaims_per_node_hour(band)
    missing, promise = missing_share(rate, start.total_s), float(facts["promise_share"])
    spare = spare_nodes(nodes, missing, promise)
    gross, net = _savings(pool, nodes, spare, rate, start)
    lost_with_zone = min(math.ceil(nodes / max(len(pool.zones), 1)) * per_node, on_spot)
    return SpotOutlook(
        at_peak=not planned,
        shared=len(pool.models) > 1,
        replicas=count,
        spot_replicas=on_spot,
        spot_nodes=nodes,
        band=str(facts["bands"][band]["label"]),
        reclaims_per_node_hour=rate,
        interruptions_per_day=rate * nodes * HOURS_PER_DAY,
        replacement_s=start.total_s,
        share_lost=on_spot * missing / count,
        promise_share=promise,
        at_least=count - min((nodes - nodes_there(nodes, missing, promise)) * per_node, on_spot),
        all_there_share=share_with_at_least(nodes, nodes, missing),
        spare_nodes=spare,
        after_zone_loss=count - lost_with_zone,
        saving_usd_per_hour=gross * part,
        net_saving_usd_per_hour=net * part,
    )


def _savings(pool: NodePoolPlan, nodes: int, spare: int, rate: float, start: StartUp) -> tuple[float, float]:
    """Return the saving against on demand in USD per hour, before and after the cost of interruptions."""
    facts, offer = dated_file("spot_interruptions"), pool.offers[0]
    spot, each = offer.spot_usd_per_hour, offer.on_demand_usd_per_hour - offer.spot_usd_per_hour
    starting = rate * nodes * start.total_s / SECONDS_PER_HOUR * spot
    instead = min(rate * facts["fallback_share"] * facts["fallback_hours"], 1.0) * nodes * each
    return nodes * each, nodes * each - starting - instead - spare * spot


def spot_figures(
    pools: Sequence[NodePoolPlan], replicas: Replicas, per_node: int, start: StartUp, *, part: float = 1.0
) -> tuple[Figure, ...]:
    """Return the figure that explains spot in a plan; empty without spot."""
    made = spot_outlook(pools, replicas, per_node, start, part=part)
    if made is None:
        return ()
    facts = dated_file("spot_interruptions")
    return (
        Figure(
            name="spot",
            value=made.sentence,
            unit="",
            rule="a node is missing rate x start-up / (1 + rate x start-up) of the time, nodes are binomial; "
            "net of start-ups, replacements on demand and spare nodes; assumed: " + "; ".join(facts["assumptions"]),
            inputs={
                "reclaimed_per_month": made.band,
                "reclaims_per_node_hour": round(made.reclaims_per_node_hour, 6),
                "notice_s": facts["notice_s"],
                "replacement_s": round(made.replacement_s, 1),
                "share_lost": round(made.share_lost, 6),
                "spare_nodes": made.spare_nodes,
                "after_zone_loss": made.after_zone_loss,
            },
            source=f"spot_interruptions.json of {facts['date']}: {facts['source']}",
        ),
    )


def plan_outlook(plan: ServingPlan, pools: Sequence[NodePoolPlan]) -> SpotOutlook | None:
    """Return the outlook of one model of a plan; None without spot."""
    own = [pool for pool in pools if plan.name in pool.models]
    whole, alone = sum(pool.usd_per_hour.expected for pool in own), all(len(pool.models) == 1 for pool in own)
    part = 1.0 if alone or not whole else plan.usd_per_hour.expected / whole
    return spot_outlook(own, plan.replicas, plan.replicas_per_instance, plan.start_up, part=part)


def spot_warnings(plan: ServingPlan, pools: Sequence[NodePoolPlan]) -> tuple[str, ...]:
    """Return warnings about a model's spot nodes: replicas missing too often, no net saving."""
    made = plan_outlook(plan, pools)
    if made is None:
        return ()
    found = []
    if made.spare_nodes:
        found.append(
            f"{plan.name}: spot keeps {made.at_least} of {made.replicas} replicas for {made.promise_share:.0%} of the "
            f"time; {made.spare_nodes} more spot nodes (replicas.ceiling) or a lower capacity.spotShare would keep all"
        )
    if made.net_saving_usd_per_hour <= 0:
        found.append(f"{plan.name}: spot saves nothing net of its interruptions; capacity.spotShare 0 is as cheap")
    return tuple(found)


def spot_document(outlook: SpotOutlook | None) -> dict[str, object] | None:
    """Return the outlook for a document; null without spot."""
    if outlook is None:
        return None
    facts = dated_file("spot_interruptions")
    return {
        "says": outlook.sentence,
        "at": "most traffic" if outlook.at_peak else "planned traffic",
        "replicas": outlook.replicas,
        "spot_replicas": outlook.spot_replicas,
        "spot_nodes": outlook.spot_nodes,
        "reclaimed_per_month": outlook.band,
        "interruptions_per_day": round(outlook.interruptions_per_day, 4),
        "notice_s": facts["notice_s"],
        "replacement_s": round(outlook.replacement_s, 1),
        "capacity_lost_share": round(outlook.share_lost, 6),
        "promise_share": outlook.promise_share,
        "replicas_at_least": outlook.at_least,
        "all_replicas_share": round(outlook.all_there_share, 6),
        "spare_nodes": outlook.spare_nodes,
        "replicas_after_zone_loss": outlook.after_zone_loss,
        "saving_usd_per_hour": round(outlook.saving_usd_per_hour, 4),
        "net_saving_usd_per_hour": round(outlook.net_saving_usd_per_hour, 4),
        "assumptions": list(facts["assumptions"]),
        "data_of": facts["date"],
    }
