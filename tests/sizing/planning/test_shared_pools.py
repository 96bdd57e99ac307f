"""Several models share nodes where that is cheaper, and only there."""

from __future__ import annotations

import itertools
import random
from dataclasses import asdict

import pytest

from sizing.catalogue import load_catalogue
from sizing.errors import NoPlan, OverBudget
from sizing.inputs import Budget, Capacity, EngineOverrides, ModelEntry, ReplicaBounds
from sizing.plan import StackPlan
from sizing.planning.planner import plan_stack
from sizing.units import HOURS_PER_MONTH
from sizing.workload.workload import Objectives, Workload
from tests.support.plans import plan_request

CATALOGUE = load_catalogue()
BIG, SMALL = "meta-llama/Llama-3.3-70B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"
BOUNDS = ("floor", "expected", "ceiling")
LAX = Objectives(ttft_p95_ms=20_000, tpot_p95_ms=200)


def entry(name: str, model: str = BIG, rate: float = 0.05, **fields) -> ModelEntry:
    load = Workload(requests_per_second=rate, input_tokens=400, output_tokens=100, peak_factor=1.0, minimum_share=1.0)
    engine = {"engine": EngineOverrides(tensor_parallel=4, pipeline_parallel=1)} if model == BIG else {}
    return ModelEntry(**{"name": name, "model": model, "workload": load, "objectives": LAX, **engine, **fields})


def plan(*entries: ModelEntry, usd: float = 1e8, **capacity) -> StackPlan:
    bounds = Capacity(**{"gpus": ("A100-40GB",), "zones": 1, **capacity})
    return plan_stack(plan_request(entries, capacity=bounds, budget=Budget(monthly_usd=usd)))


def nodes_usd(made: StackPlan) -> float:
    return sum(pool.usd_per_hour.expected for pool in made.pools)


def test_two_models_at_tp4_take_one_machine_of_eight_in_place_of_two():
    made, apart = plan(entry("a"), entry("b")), plan(entry("a"), entry("b"), share_pools=False)
    price = CATALOGUE.instance("p4d.24xlarge").on_demand_usd_per_hour["us-east-1"]
    assert [(pool.name, pool.models, pool.ceiling_instances) for pool in made.pools] == [
        ("shared-a100-40gb-floor", ("a", "b"), 1)
    ]
    assert [model.usd_per_hour.expected for model in made.models] == [pytest.approx(price / 2)] * 2
    assert [(model.pools, model.shares_with) for model in made.models] == [
        (("shared-a100-40gb-floor",), ("b",)),
        (("shared-a100-40gb-floor",), ("a",)),
    ]
    (shared,) = made.shared
    assert shared.saving_usd_per_hour == pytest.approx(price)
    assert (nodes_usd(apart), apart.shared) == (pytest.approx(2 * price), ())
    assert [pool.name for pool in apart.pools] == ["a-floor", "b-floor"]


def test_a_plan_says_who_shares_what_it_saves_and_what_it_risks():
    made = plan(entry("a"), entry("b"))
    (line,) = [line for line in made.bill if line.name == "GPU nodes shared-a100-40gb-floor"]
    assert "shared by a, b" in line.rule
    (figure,) = [figure for figure in made.models[0].figures if figure.name == "shared_with"]
    assert (figure.value, figure.inputs["nodes"], figure.inputs["saves_usd_per_hour"]) == ("b", "1/1/1", 21.9576)
    warning = next(text for text in made.warnings if text.startswith("a, b share nodes of p4d.24xlarge"))
    assert "21.96 USD/h expected less than on nodes of their own" in warning
    assert "sharePools false" in warning


def test_nothing_is_shared_where_own_nodes_are_full_or_cheaper():
    full = plan(
        entry("a", rate=3.0, replicas=ReplicaBounds(floor=2, ceiling=2)), entry("b", SMALL), gpus=("A100-40GB", "L4")
    )
    assert full.shared == ()
    assert {pool.models for pool in full.pools} == {("a",), ("b",)}
    own = plan(entry("a", SMALL), entry("b", SMALL), gpus=None)
    assert own.shared == ()


@pytest.mark.parametrize("spot_share", [0.0, 0.5, 1.0])
def test_models_add_up_to_their_pools_and_bounds_stay_in_order(spot_share):
    loads = {"a": (BIG, 1.0, 3.0), "b": (BIG, 2.0, 2.0), "c": (SMALL, 4.0, 1.5)}
    entries = [
        entry(name, model, workload=Workload(
            requests_per_second=rate, input_tokens=700, output_tokens=200, peak_factor=peak, minimum_share=0.1,
        ))
        for name, (model, rate, peak) in loads.items()
    ]  # fmt: skip
    made = plan(*entries, spot_share=spot_share, gpus=("A100-40GB", "A100-80GB"))
    assert made.shared
    for bound in BOUNDS:
        models = sum(getattr(model.usd_per_hour, bound) for model in made.models)
        assert models == pytest.approx(sum(getattr(pool.usd_per_hour, bound) for pool in made.pools))
    for model in made.models:
        cost = model.usd_per_hour
        assert cost.floor <= cost.expected <= cost.ceiling
    for one in made.shared:
        nodes = [pool for pool in made.pools if pool.name in one.pools]
        pods = {model.name: model for model in made.models if model.name in one.models}
        for bound in BOUNDS:
            gpus = sum(pod.resources.gpus * getattr(pod.replicas, bound) for pod in pods.values())
            assert gpus <= sum(getattr(pool, f"{bound}_instances") for pool in nodes) * one.gpus_per_node
    assert made.burn_usd_per_hour.floor <= made.burn_usd_per_hour.expected <= made.burn_usd_per_hour.ceiling


def test_the_order_of_the_models_changes_nothing_but_the_order():
    entries = [entry("a"), entry("b"), entry("c", SMALL, rate=1.0), entry("d", rate=0.2)]
    made = [plan(*order) for order in itertools.islice(itertools.permutations(entries), 0, 24, 6)]
    first = {model.name: asdict(model) for model in made[0].models}
    for other in made[1:]:
        assert {model.name: asdict(model) for model in other.models} == first
        assert other.shared == made[0].shared
    assert len({round(nodes_usd(one), 9) for one in made}) == 1


def test_pools_are_named_after_the_gpu_and_never_like_those_of_a_model():
    made = plan(*(entry(name) for name in ("shared-a100-40gb", "b", "shared-a100-40gb-2", "d")))
    assert {pool.name: pool.models for pool in made.pools} == {  # of equal cost the smaller sets
        "shared-a100-40gb-3-floor": ("b", "d"),
        "shared-a100-40gb-4-floor": ("shared-a100-40gb", "shared-a100-40gb-2"),
    }
    assert all(len(pool.name) <= 40 for pool in made.pools)


def test_a_ceiling_of_the_shared_pool_counts_once_and_the_smallest_budget_works():
    entries = [entry("a"), entry("b")]
    with pytest.raises(OverBudget) as refused:
        plan(*entries, usd=1000)
    smallest = float(str(refused.value.limit).split(" is ")[1].split()[0])
    price = CATALOGUE.instance("p4d.24xlarge").on_demand_usd_per_hour["us-east-1"]
    assert price * HOURS_PER_MONTH < smallest < 1.1 * price * HOURS_PER_MONTH
    made = plan(*entries, usd=smallest)
    assert made.shared
    assert made.burn_usd_per_hour.ceiling * HOURS_PER_MONTH <= smallest
    with pytest.raises(OverBudget):
        plan(*entries, usd=smallest - 0.01)
    with pytest.raises(OverBudget, match="monthlyUsd"):
        plan(*entries, usd=smallest, share_pools=False)


def test_a_budget_may_need_shared_nodes_that_save_nothing_expected():
    bounds = {"a": ReplicaBounds(floor=2, ceiling=3), "b": ReplicaBounds(floor=1, ceiling=3)}
    entries = [entry(name, replicas=replicas) for name, replicas in bounds.items()]
    assert plan(*entries).shared == ()  # two machines either way, at the planned traffic
    made = plan(*entries, usd=60_000)  # at the most traffic three in place of four
    assert made.shared[0].saving_usd_per_hour == pytest.approx(0)
    assert "to stay within the budget: ceiling 21.96 USD/h lower" in made.shared[0].sentence


@pytest.mark.parametrize("share", [0.99, 0.8, 0.6])
def test_under_a_budget_sharing_is_never_dearer_than_without(share):
    entries = [entry("a", rate=1.0), entry("b", rate=0.4), entry("c", SMALL, rate=9.0)]
    fields = {"gpus": ("A100-40GB", "A100-80GB", "L4")}
    limit = plan(*entries, **fields, share_pools=False).burn_usd_per_hour.ceiling * HOURS_PER_MONTH * share
    made = plan(*entries, usd=limit, **fields)
    assert made.burn_usd_per_hour.ceiling * HOURS_PER_MONTH <= limit
    try:
        apart = plan(*entries, usd=limit, **fields, share_pools=False)
    except OverBudget:
        return
    assert nodes_usd(made) <= nodes_usd(apart) + 1e-9


def test_a_higher_budget_is_never_worse():
    entries = [entry("a", rate=1.0), entry("b", rate=0.4), entry("c", SMALL, rate=9.0)]
    fields = {"gpus": ("A100-40GB", "A100-80GB", "L4")}
    with pytest.raises(OverBudget) as refused:
        plan(*entries, usd=1, **fields)
    smallest = float(str(refused.value.limit).split(" is ")[1].split()[0])
    costs = [nodes_usd(plan(*entries, usd=smallest * factor, **fields)) for factor in (1, 1.1, 1.3, 2, 100)]
    assert costs == sorted(costs, reverse=True)


@pytest.mark.parametrize("seed", [1, 2])
def test_many_models_of_any_kind_are_never_dearer_together(seed):
    chance = random.Random(seed)
    entries = [entry(f"m{number}", chance.choice((BIG, SMALL)), rate=chance.uniform(0.05, 6)) for number in range(7)]
    fields = {"gpus": ("A100-40GB", "L40S", "L4"), "spot_share": 0.5}
    made, apart = plan(*entries, **fields), plan(*entries, **fields, share_pools=False)
    assert made.shared
    assert nodes_usd(made) < nodes_usd(apart)
    served = [name for pool in made.pools for name in pool.models if pool.name.endswith("-floor")]
    assert sorted(served) == sorted(one.name for one in entries)


def test_a_model_that_is_to_survive_a_loss_keeps_its_own_nodes():
    tolerant = entry("b", loss_tolerance="replica")
    assert plan(entry("a"), tolerant).shared == ()
    assert plan(entry("a"), tolerant, entry("c")).shared[0].models == ("a", "c")


def test_a_quota_of_one_machine_is_enough_for_two_models_that_share_it():
    quotas = [{"code": "L-417A185B", "vcpus": 96}]
    assert plan(entry("a"), entry("b"), quotas=quotas).shared
    with pytest.raises(NoPlan, match="the models together"):
        plan(entry("a"), entry("b"), quotas=quotas, share_pools=False)


def test_more_than_four_models_are_never_dearer_and_their_fleets_are_joined():
    entries = [entry(f"m{number}", SMALL, rate=0.5) for number in range(8)]
    fields = {"gpus": ("A100-80GB",)}
    made, apart = plan(*entries, **fields), plan(*entries, **fields, share_pools=False)
    assert [(one.models, one.gpus_per_node) for one in made.shared] == [(tuple(f"m{n}" for n in range(8)), 8)]
    assert nodes_usd(made) == pytest.approx(nodes_usd(apart) / 8)


def test_spot_of_a_shared_pool_is_told_once_for_each_model_and_divided_among_them():
    floors = {"replicas": ReplicaBounds(floor=0)}
    made = plan(entry("a", rate=0.3, **floors), entry("b", rate=0.3, **floors), spot_share=1.0)
    assert [pool.name for pool in made.pools] == ["shared-a100-40gb-spot"]
    said = [next(one.value for one in model.figures if one.name == "spot") for model in made.models]
    offer = made.pools[0].offers[0]
    saved = (offer.on_demand_usd_per_hour - made.pools[0].usd_per_hour.expected) / 2
    assert all(f"net of {saved:.2f}" in sentence for sentence in said), said
    assert all(sentence.startswith("spot: up to 1 of 1 replicas") for sentence in said), said
