"""All costs of a plan: bill, price per million tokens, spot, purchase terms, hosted APIs.

    USD per million input tokens  = USD per hour x s / million input tokens per hour
    USD per million output tokens = USD per hour x (1 - s) / million output tokens per hour
    s = prefill / (prefill + output tokens x TPOT / concurrency)    share of the engine's time for prompts

Documents have units in the names and are rounded, so that equal plans give equal bytes. The cluster is a stack of its
own that several serving stacks may share; the comparison with a hosted API adds one of default size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sizing.catalogue import Catalogue
from sizing.cost.bill import bill_of, per_month, total
from sizing.cost.budget import least_budget
from sizing.cost.cluster_bill import default_cluster_bill
from sizing.cost.hosted_apis import hosted_costs, hosted_document
from sizing.cost.purchase_terms import purchase_document, purchase_terms
from sizing.cost.spot_interruptions import plan_outlook, spot_document
from sizing.cost.transfer import StackTraffic
from sizing.inputs import ModelEntry
from sizing.plan import BillLine, Bounds, NodePoolPlan, ServingPlan, StackPlan
from sizing.units import HOURS_PER_MONTH, SECONDS_PER_HOUR

Document = dict[str, object]


PRICE_RULE = (
    "USD expected an hour x share of the engine's time / tokens of that kind an hour, both on average over the day; "
    "prompts take their prefill, answers the step divided by the requests in flight"
)


def prompt_share(plan: ServingPlan, entry: ModelEntry) -> float:
    """Return the share of the engine's busy time that prompts take at the planned traffic."""
    speed = plan.throughput
    answer_ms = entry.workload.output_tokens * speed.tpot_ms.p50 / max(speed.concurrency, 1.0)
    return speed.prefill_ms / (speed.prefill_ms + answer_ms)


def token_prices(plan: ServingPlan, entry: ModelEntry, usd_per_hour: float) -> Document:
    """Return USD per million input, output and all tokens for ``usd_per_hour`` at the planned traffic."""
    load, share = entry.workload, prompt_share(plan, entry)
    requests = load.mean_requests_per_second * SECONDS_PER_HOUR / 1e6
    return {
        "input": round(usd_per_hour * share / (requests * load.input_tokens), 4),
        "output": round(usd_per_hour * (1 - share) / (requests * load.output_tokens), 4),
        "all": round(usd_per_hour / (requests * (load.input_tokens + load.output_tokens)), 4),
        "rule": PRICE_RULE,
    }


def most_requests_per_s(plan: ServingPlan, entry: ModelEntry) -> float:
    """Return the requests per second that the expected replicas carry within the objectives, with batch requests."""
    carrying = plan.replicas.expected - plan.replicas.batch
    return plan.most_requests_per_s_per_replica * carrying / (1 - entry.workload.batch_share)


def line_documents(lines: Sequence[BillLine]) -> list[Document]:
    """Return the lines of a bill."""
    return [
        {
            "name": line.name,
            "usd_per_hour": {bound: round(value, 4) for bound, value in asdict(line.usd_per_hour).items()},
            "rule": line.rule,
        }
        for line in lines
    ]


def burn_document(usd_per_hour: Bounds) -> Document:
    """Return floor, expected and ceiling per hour and per month; the monthly ceiling is the smallest budget for it."""
    month = {**asdict(per_month(usd_per_hour)), "ceiling": least_budget(usd_per_hour.ceiling)}
    return {
        bound: {"usd_per_hour": round(value, 4), "usd_per_month": round(month[bound], 2)}
        for bound, value in asdict(usd_per_hour).items()
    }


def model_costs(
    plan: ServingPlan,
    pools: Sequence[NodePoolPlan],
    entry: ModelEntry,
    usd_per_hour: float,
    cluster_usd_per_hour: float,
) -> Document:
    """Return prices per token, spot and the hosted comparison of one model.

    ``usd_per_hour`` is the expected cost of the model, ``cluster_usd_per_hour`` its share of the cluster.
    """
    month = (usd_per_hour + cluster_usd_per_hour) * HOURS_PER_MONTH
    return {
        "usd_per_million_tokens": token_prices(plan, entry, usd_per_hour),
        "spot": spot_document(plan_outlook(plan, pools)),
        "hosted": hosted_document(hosted_costs(plan.model, entry.workload, month, most_requests_per_s(plan, entry))),
    }


def plan_costs(
    plan: ServingPlan, pools: Sequence[NodePoolPlan], entry: ModelEntry, region: str, catalogue: Catalogue
) -> Document:
    """Return the costs of one model planned alone: bill, burn, cluster, tokens, spot, purchase terms, hosts."""
    zones = max((len(pool.zones) for pool in pools), default=1)
    traffic = StackTraffic(entries=(entry,), zones=zones)
    lines = bill_of([plan], pools, None, region, catalogue, traffic=traffic)
    cluster, burn = default_cluster_bill(region, catalogue), total(lines)
    cluster_burn = total(cluster)
    return {
        "bill": line_documents(lines),
        "burn": burn_document(burn),
        "cluster": {"bill": line_documents(cluster), "burn": burn_document(cluster_burn)},
        **model_costs(plan, pools, entry, burn.expected, cluster_burn.expected),
        "purchase_terms": purchase_document(purchase_terms(pools, region)),
    }


def stack_costs(plan: StackPlan, entries: Sequence[ModelEntry], catalogue: Catalogue) -> dict[str, Document]:
    """Return the costs of each model in ``entries``, by name; shared costs are divided in proportion to node cost."""
    nodes = sum(model.usd_per_hour.expected for model in plan.models)
    cluster = total(default_cluster_bill(plan.region, catalogue)).expected
    by_name, found = {entry.name: entry for entry in entries}, {}
    for model in (one for one in plan.models if one.name in by_name):
        share = model.usd_per_hour.expected / nodes if nodes else 1 / len(plan.models)
        burn = plan.burn_usd_per_hour.expected * share
        found[model.name] = model_costs(model, plan.pools, by_name[model.name], burn, cluster * share)
    return found
