"""Spot by arithmetic, purchase terms as prices, hosted APIs as the yardstick."""

from __future__ import annotations

import math

import pytest

from sizing.catalogue.files import dated_file
from sizing.cost.hosted_apis import hosted_costs, hosted_rows, usd_per_request
from sizing.cost.purchase_terms import purchase_terms
from sizing.cost.spot_interruptions import (
    missing_share,
    nodes_there,
    reclaim_band,
    reclaims_per_node_hour,
    share_with_at_least,
    spare_nodes,
    spot_document,
    spot_figures,
    spot_outlook,
)
from sizing.plan import Bounds, Disk, InstanceOffer, NodePoolPlan, Replicas, StartUp
from sizing.workload.workload import Workload

START = StartUp(node_s=60, image_pull_s=60, weights_load_s=120, compile_s=60, warm_up_s=60)
CHAT = Workload(requests_per_second=10, input_tokens=1000, output_tokens=200)


def offer(name: str, on_demand: float, gpus: int = 1) -> InstanceOffer:
    return InstanceOffer(
        instance_type=name, gpus=gpus, vcpu=4, memory_gib=16, on_demand_usd_per_hour=on_demand,
        spot_usd_per_hour=on_demand / 2, zone_ids=("use1-az1", "use1-az2"),
    )  # fmt: skip


def pool(kind: str, counts: tuple[int, int, int], name: str = "g5.xlarge", price: float = 1.006) -> NodePoolPlan:
    spot = kind == "spot"
    one = offer(name, price)
    return NodePoolPlan(
        name=f"chat-{kind}", kind="karpenter" if spot else "managed", capacity_type="spot" if spot else "on-demand",
        gpu="A10G", karpenter_gpu_name="a10g", offers=(one,), zones=("use1-az1", "use1-az2"),
        floor_instances=counts[0], expected_instances=counts[1], mean_instances=counts[1], ceiling_instances=counts[2],
        gpu_limit=counts[2],
        labels={}, taint_key="", taint_value="", disk=Disk(size_gib=100, iops=3000, throughput_mib_per_s=125),
        models=("chat",),
        usd_per_hour=Bounds(floor=counts[0] * price, expected=counts[1] * price / (2 if spot else 1),
                            ceiling=counts[2] * price),
    )  # fmt: skip


def test_the_rate_reclaims_the_share_of_the_band_within_a_month() -> None:
    assert reclaim_band("g5.xlarge", "us-east-1") == 4
    assert reclaim_band("p5en.48xlarge", "us-east-1") == 0
    assert reclaim_band("never.sold", "us-east-1") == 4
    assert 1 - math.exp(-730 * reclaims_per_node_hour(0)) == pytest.approx(0.05)


def test_nodes_are_binomial_and_spares_keep_the_promise() -> None:
    assert missing_share(0.1, 3600) == pytest.approx(0.1 / 1.1)
    assert share_with_at_least(2, 2, 0.1) == pytest.approx(0.81)
    assert share_with_at_least(1, 2, 0.1) == pytest.approx(0.99)
    assert share_with_at_least(0, 2, 0.1) == pytest.approx(1.0)
    assert nodes_there(2, 0.1, 0.95) == 1
    assert spare_nodes(2, 0.1, 0.95) == 1
    assert share_with_at_least(2, 3, 0.1) == pytest.approx(0.972)
    assert share_with_at_least(1100, 1100, 1e-4) == pytest.approx(0.9999**1100)
    assert 0 < spare_nodes(1000, 0.01, 0.99) < 30
    assert (share_with_at_least(2, 2, 0.0), share_with_at_least(3, 2, 0.0)) == (1.0, 0.0)


def test_an_outlook_says_what_is_missing_and_what_is_saved() -> None:
    pools = (pool("floor", (2, 2, 2)), pool("spot", (0, 2, 4)))
    made = spot_outlook(pools, Replicas(floor=2, expected=4, ceiling=6), 1, START)
    rate = -math.log(0.5) / 730
    away = rate * 0.1 / (1 + rate * 0.1)
    assert made is not None
    assert (made.replicas, made.spot_replicas, made.after_zone_loss, made.spare_nodes) == (4, 2, 3, 0)
    assert made.share_lost == pytest.approx(2 * away / 4)
    assert made.interruptions_per_day == pytest.approx(48 * rate)
    assert made.saving_usd_per_hour == pytest.approx(1.006)
    expected = 1.006 - rate * 2 * 0.1 * 0.503 - rate * 0.5 * 12 * 2 * 0.503
    assert made.net_saving_usd_per_hour == pytest.approx(expected)
    assert made.sentence.startswith("spot: 2 of 4 replicas, 0.046 interruptions a day, at least 4 in 99% of the time")
    assert "assumed" in spot_figures(pools, Replicas(floor=2, expected=4, ceiling=6), 1, START)[0].rule


def test_spot_only_above_the_planned_traffic_is_judged_at_the_ceiling() -> None:
    made = spot_outlook((pool("spot", (0, 0, 3)),), Replicas(floor=1, expected=1, ceiling=4), 1, START)
    assert made is not None
    assert (made.replicas, made.spot_nodes) == (4, 3)
    assert made.sentence.startswith("spot at the peak: 3 of 4 replicas")
    assert made.saving_usd_per_hour == pytest.approx(3 * 1.006 * 0.5)


def test_nodes_that_start_slowly_need_spares_and_may_save_nothing() -> None:
    slow = StartUp(node_s=60, image_pull_s=60, weights_load_s=200_000, compile_s=60, warm_up_s=60)
    made = spot_outlook((pool("spot", (0, 8, 8)),), Replicas(floor=0, expected=8, ceiling=8), 1, slow)
    assert made is not None
    assert made.spare_nodes > 0
    assert made.at_least < 8
    assert made.net_saving_usd_per_hour < made.saving_usd_per_hour - made.spare_nodes * 0.5


def test_without_spot_there_is_nothing_to_say() -> None:
    replicas = Replicas(floor=1, expected=1, ceiling=1)
    assert spot_outlook((pool("floor", (1, 1, 1)),), replicas, 1, START) is None
    assert spot_figures((), replicas, 1, START) == ()
    assert spot_document(None) is None


def test_the_floor_has_a_price_under_each_term_or_a_reason_why_not() -> None:
    terms = purchase_terms((pool("floor", (2, 2, 2)), pool("spot", (0, 2, 4))), "us-east-1")
    assert terms is not None
    by_name = {term.name: term for term in terms.terms}
    reserved = by_name["reserved-1y"]
    assert terms.nodes == {"g5.xlarge": 2}
    assert reserved.usd_per_hour == pytest.approx(2 * 0.63378)
    assert reserved.break_even_hours_per_month == pytest.approx(0.63 * 730)
    assert reserved.break_even_months == pytest.approx(0.63 * 12)
    assert by_name["savings-plan-3y"].at_best
    assert by_name["savings-plan-3y"].usd_per_hour == pytest.approx(0.28 * terms.on_demand_usd_per_hour)
    assert by_name["capacity-reservation"].saving_share == 0
    assert [title for title, _ in terms.unpriced] == ["Capacity Block"]


def test_a_capacity_block_costs_its_rate_for_each_gpu() -> None:
    floor = pool("floor", (1, 1, 1), "p5.48xlarge", 55.04)
    floor = type(floor)(**{**floor.__dict__, "offers": (offer("p5.48xlarge", 55.04, gpus=8),)})
    terms = purchase_terms((floor,), "us-east-1")
    assert terms is not None
    block = next(term for term in terms.terms if term.name == "capacity-block")
    assert block.usd_per_hour == pytest.approx(8 * 5.97)
    assert block.break_even_hours_per_month == pytest.approx(47.76 / 55.04 * 730)
    assert any("p5.48xlarge in us-east-1" in reason for _, reason in terms.unpriced)


def test_no_floor_is_nothing_to_commit() -> None:
    assert purchase_terms((pool("spot", (0, 2, 4)),), "us-east-1") is None


def test_a_reserved_rate_is_below_the_on_demand_price_it_was_taken_with() -> None:
    from sizing.catalogue import load_catalogue

    for row in dated_file("purchase_terms")["rates"]:
        for region, price in row.get("usd_per_hour", {}).items():
            sold = load_catalogue().instance(row["instance_type"]).on_demand_usd_per_hour[region]
            assert 0.55 * sold < price < 0.75 * sold


def test_every_hosted_price_names_a_model_of_the_catalogue_its_source_and_date() -> None:
    from sizing.catalogue import load_catalogue

    known = set(load_catalogue().models)
    for row in dated_file("hosted_prices")["rows"]:
        assert row["model"] in known
        assert row["source"].startswith(f"providers/{row['host']}/")
        assert "2025-06-01" < row["date"] < "2026-12-01"
        assert 0 < row["usd_per_million_input_tokens"] <= row["usd_per_million_output_tokens"] < 20


def test_a_hosted_month_is_tokens_times_price_and_cached_prompt_tokens_cost_less() -> None:
    row = {"usd_per_million_input_tokens": 0.1, "usd_per_million_output_tokens": 0.5}
    assert usd_per_request(row, CHAT) == pytest.approx((1000 * 0.1 + 200 * 0.5) / 1e6)
    cached = {**row, "usd_per_million_cached_input_tokens": 0.02}
    half = CHAT.model_copy(update={"prefix_share": 0.5})
    assert usd_per_request(cached, half) == pytest.approx((500 * 0.1 + 500 * 0.02 + 200 * 0.5) / 1e6)


def test_the_cheapest_host_says_whether_self_hosting_pays() -> None:
    model = "meta-llama/Llama-3.1-8B-Instruct"
    cheapest = hosted_costs(model, CHAT, 2000.0, 12.0)[0]
    assert cheapest.host == "novita-ai"
    assert cheapest.usd_per_month == pytest.approx((1000 * 0.02 + 200 * 0.05) / 1e6 * 10 * 730 * 3600)
    assert not cheapest.self_hosting_pays
    assert "self-hosting does not pay; break-even is 25.4 requests/s, this fleet carries 12" in cheapest.sentence
    assert hosted_costs(model, CHAT, 500.0, 12.0)[0].self_hosting_pays
    assert "does not pay below 11.4 requests/s" in hosted_costs(model, CHAT, 900.0, 12.0)[0].sentence


def test_a_quantised_copy_is_compared_with_its_original_and_an_unsold_model_with_nobody() -> None:
    assert hosted_rows("Qwen/Qwen3-32B-AWQ") == hosted_rows("Qwen/Qwen3-32B") != ()
    assert hosted_costs("rednote-hilab/dots.ocr", CHAT, 100.0, 1.0) == ()
