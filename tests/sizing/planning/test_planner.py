"""The plan is the cheapest option that meets the objectives, and its bill stays within the budget."""

from __future__ import annotations

import dataclasses
import itertools
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sizing.catalogue import load_catalogue
from sizing.engine.settings import resolve_engine
from sizing.errors import BadInput, NoPlan, OverBudget
from sizing.inputs import Budget, Capacity, EngineOverrides, ModelEntry, ReplicaBounds
from sizing.plan import StackPlan
from sizing.planning.planner import plan_model, plan_stack
from sizing.planning.search.enumeration import enumerate_options
from sizing.planning.search.options import Market
from sizing.units import HOURS_PER_MONTH
from sizing.workload.workload import Objectives, Workload
from tests.support.plans import plan_request
from tests.support.yardstick import cpu_seconds, million_squares

CATALOGUE = load_catalogue()
SMALL, LARGE = "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.3-70B-Instruct"
REGION = "us-east-1"
FEW = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def entry(model: str = SMALL, *, rate: float = 2.0, name: str = "chat", **more: object) -> ModelEntry:
    workload = {"requests_per_second": rate, "input_tokens": 900, "output_tokens": 250, **more.pop("workload", {})}
    return ModelEntry(name=name, model=model, workload=Workload(**workload), **more)


def stack(*entries: ModelEntry, usd: float = 1e6, **capacity: object) -> StackPlan:
    return plan_stack(plan_request(entries, capacity=Capacity(**capacity), budget=Budget(monthly_usd=usd)))


def test_the_choice_is_the_minimum_over_the_whole_small_space() -> None:
    one, capacity = entry(rate=20), Capacity(gpus=("A10G", "L4", "L40S"))
    options = enumerate_options(one, Market(capacity=capacity, region=REGION, catalogue=CATALOGUE)).options
    chosen = plan_model(one, Market(capacity=capacity, region=REGION, catalogue=CATALOGUE)).chosen
    assert chosen.usd_per_hour.expected == min(option.usd_per_hour.expected for option in options)
    assert chosen.meets


def test_two_models_get_the_cheapest_pair_within_the_budget() -> None:
    entries, gpus = (entry(rate=20), entry(LARGE, rate=1, name="large")), ("A10G", "L40S", "A100-40GB")
    capacity = Capacity(gpus=gpus)
    found = [
        enumerate_options(one, Market(capacity=capacity, region=REGION, catalogue=CATALOGUE)).options for one in entries
    ]
    shared = 0.2  # more than balancer, transfer, key and secrets cost in an hour
    for budget in (29_000, 32_000, 60_000):
        plan = stack(*entries, usd=budget, gpus=gpus)
        fitting = [
            sum(option.usd_per_hour.expected for option in pair)
            for pair in itertools.product(*found)
            if (sum(o.ceiling_usd_per_hour for o in pair) + shared) * HOURS_PER_MONTH <= budget
        ]
        assert sum(m.usd_per_hour.expected for m in plan.models) <= min(fitting) + 1e-9


@FEW
@given(rate=st.floats(0.1, 60), more=st.floats(1.0, 4.0), spot=st.floats(0, 1))
def test_more_traffic_is_never_cheaper(rate: float, more: float, spot: float) -> None:
    capacity = Capacity(spot_share=spot, gpus=("A10G", "L4", "L40S"))
    less = plan_model(
        entry(rate=rate), Market(capacity=capacity, region=REGION, catalogue=CATALOGUE)
    ).chosen.usd_per_hour
    busy = plan_model(
        entry(rate=rate * more), Market(capacity=capacity, region=REGION, catalogue=CATALOGUE)
    ).chosen.usd_per_hour
    assert busy.expected >= less.expected - 1e-9


@FEW
@given(rate=st.floats(0.1, 40), tpot=st.floats(30, 120), looser=st.floats(1.0, 4.0))
def test_a_looser_objective_is_never_dearer(rate: float, tpot: float, looser: float) -> None:
    def cost(tpot_ms: float) -> float:
        one = entry(rate=rate, objectives=Objectives(ttft_p95_ms=3000, tpot_p95_ms=tpot_ms))
        return plan_model(
            one, Market(capacity=Capacity(), region=REGION, catalogue=CATALOGUE)
        ).chosen.usd_per_hour.expected

    assert cost(tpot * looser) <= cost(tpot) + 1e-9


@FEW
@given(rate=st.floats(0.1, 40), spot=st.floats(0, 1), zero=st.booleans(), peak=st.floats(1, 5))
def test_floor_expected_ceiling_and_budget_stand_in_this_order(
    rate: float, spot: float, zero: bool, peak: float
) -> None:
    one = entry(rate=rate, scale_to_zero=zero, workload={"peak_factor": peak})
    plan = stack(one, usd=1e7, spot_share=spot)
    for bounds in (
        plan.burn_usd_per_hour,
        *(m.usd_per_hour for m in plan.models),
        *(p.usd_per_hour for p in plan.pools),
    ):
        assert bounds.floor <= bounds.expected <= bounds.ceiling
    model = plan.models[0]
    assert model.replicas.floor <= model.replicas.expected <= model.replicas.ceiling
    assert sum(pool.ceiling_instances for pool in plan.pools) * model.replicas_per_instance == model.replicas.ceiling
    assert plan.burn_usd_per_hour.ceiling * HOURS_PER_MONTH <= plan.budget.monthly_usd


@pytest.mark.parametrize("rate", [2, 30])
def test_the_smallest_budget_named_by_a_refusal_works_and_one_cent_less_does_not(rate: float) -> None:
    with pytest.raises(OverBudget) as refused:
        stack(entry(rate=rate), usd=50)
    smallest = float(re.search(r"works is ([\d.]+) USD", refused.value.line()).group(1))  # type: ignore[union-attr]
    assert stack(entry(rate=rate), usd=smallest).burn_usd_per_hour.ceiling * HOURS_PER_MONTH <= smallest
    with pytest.raises(OverBudget):
        stack(entry(rate=rate), usd=smallest - 0.01)


def test_a_higher_budget_is_never_worse() -> None:
    costs = [stack(entry(rate=30), usd=usd).models[0].usd_per_hour.expected for usd in (14_000, 20_000, 40_000)]
    assert costs == sorted(costs, reverse=True)


def test_a_bigger_model_changes_every_figure_that_hangs_on_it() -> None:
    def dev(model: str) -> StackPlan:
        return stack(entry(model, scale_to_zero=True), usd=50_000, spot_share=1.0)

    small, large = dev(SMALL), dev(LARGE)
    before, after = small.models[0], large.models[0]
    assert (before.gpu, before.tensor_parallel) != (after.gpu, after.tensor_parallel)
    assert before.instance_type != after.instance_type
    assert after.resources.shm_gib == 2 * after.tensor_parallel > before.resources.shm_gib
    assert after.probes.startup.failure_threshold > before.probes.startup.failure_threshold
    assert after.weights_bytes > 8 * before.weights_bytes
    assert large.pools[0].disk.size_gib > small.pools[0].disk.size_gib
    assert large.pools[0].gpu_limit > small.pools[0].gpu_limit
    assert large.burn_usd_per_hour.ceiling > small.burn_usd_per_hour.ceiling
    assert large.budget.actual_thresholds_percent != small.budget.actual_thresholds_percent


def test_a_leaving_replica_has_time_and_stays_within_the_spot_notice() -> None:
    slow = entry(workload={"output_tokens": 2000}, objectives=Objectives(tpot_p95_ms=60))
    plan = stack(slow, spot_share=1.0)
    drain = plan.models[0].drain
    assert drain.grace_period_s > drain.pre_stop_s + drain.shutdown_timeout_s
    assert drain.grace_period_s <= 110
    assert any("a leaving replica cuts" in warning for warning in plan.warnings)


def test_every_pod_fits_every_type_that_its_pools_may_buy() -> None:
    plan = stack(entry(rate=20), entry(LARGE, name="large"), zones=3)
    pods = {model.name: model.resources for model in plan.models}
    for pool in plan.pools:
        for offer in pool.offers:
            pod, node = pods[pool.models[0]], CATALOGUE.instance(offer.instance_type)
            count = node.gpus // pod.gpus
            assert count * pod.cpu < node.allocatable_cpu
            assert count * pod.memory_gib < node.allocatable_memory_gib
        assert len({offer.gpus for offer in pool.offers}) == 1
        assert len(pool.zones) == 3


def test_scale_to_zero_has_no_floor_and_a_stated_floor_is_kept() -> None:
    idle = stack(entry(scale_to_zero=True), spot_share=1.0)
    assert [pool.name for pool in idle.pools] == ["chat-spot"]
    assert idle.models[0].usd_per_hour.floor == 0
    kept = stack(entry(replicas=ReplicaBounds(floor=2, ceiling=4)))
    assert (kept.models[0].replicas.floor, kept.models[0].replicas.ceiling) == (2, 4)
    assert kept.pools[0].name == "chat-floor"
    assert kept.pools[0].floor_instances == kept.pools[0].ceiling_instances == 2


def test_a_context_that_does_not_fit_is_capped_and_the_figure_says_so() -> None:
    calm = entry(rate=0.2, objectives=Objectives(ttft_p95_ms=6000))
    plan = plan_model(calm, Market(capacity=Capacity(gpus=("A10G",)), region=REGION, catalogue=CATALOGUE)).chosen
    assert plan.engine.max_model_len == 8192  # the power of two over 4 x (900 + 250)
    figure = next(figure for figure in plan.figures if figure.name == "max_model_len")
    assert "does not fit" in figure.rule


def test_each_option_that_lost_says_why() -> None:
    result = plan_model(entry(LARGE), Market(capacity=Capacity(zones=2), region=REGION, catalogue=CATALOGUE), top=1)
    reasons = {one.option: one.reason for one in result.rejected}
    assert reasons["T4 TP4"].startswith("does not fit: weights")
    assert reasons["MI300X"] == "not sold in us-east-1"
    assert reasons["p6-b200.48xlarge"].startswith("sold in 1 zone of us-east-1 (use1-az6), capacity.zones asks for 2")
    one_zone = plan_model(
        entry(LARGE), Market(capacity=Capacity(zones=1), region=REGION, catalogue=CATALOGUE), top=1
    ).rejected
    assert any(one.option == "B200 TP8" and one.reason.startswith("dearer: at least 113.93") for one in one_zone)
    assert any(reason.startswith("dearer:") for reason in reasons.values())


def test_a_machine_that_the_region_sells_and_the_catalogue_has_no_price_of_is_left_out_by_name() -> None:
    rejected = plan_model(
        entry(LARGE), Market(capacity=Capacity(gpus=("H200",)), region="us-west-2", catalogue=CATALOGUE)
    ).rejected
    (reason,) = (one.reason for one in rejected if one.option == "p5e.48xlarge")
    assert reason == f"us-west-2 sells it, but the catalogue of {CATALOGUE.date} has no price"


def test_an_encoder_takes_a_prompt_in_one_batch_and_lacks_no_cache() -> None:
    embed = entry("BAAI/bge-m3", rate=30, workload={"input_tokens": 200, "output_tokens": 1})
    chosen = plan_model(embed, Market(capacity=Capacity(), region=REGION, catalogue=CATALOGUE)).chosen
    assert chosen.engine.max_num_batched_tokens >= chosen.engine.max_model_len == 8194
    assert chosen.engine_args[-2:] == ("--runner", "pooling")
    with pytest.raises(BadInput, match="takes a prompt in one piece"):
        resolve_engine(
            CATALOGUE.model("BAAI/bge-m3"), CATALOGUE.gpu("L4"), EngineOverrides(max_num_batched_tokens=2048)
        )


def test_objectives_nobody_meets_are_refused_with_the_best_reachable() -> None:
    with pytest.raises(NoPlan, match="best reachable is TTFT p95"):
        plan_model(
            entry(objectives=Objectives(tpot_p95_ms=0.5)),
            Market(capacity=Capacity(), region=REGION, catalogue=CATALOGUE),
        )


@pytest.mark.parametrize(
    ("one", "capacity", "error", "words"),
    [
        (entry(rate=100_000), Capacity(gpus=("A10G",)), NoPlan, "more than 1000"),
        (entry(workload={"input_tokens": 200_000}), Capacity(), BadInput, "131072 tokens"),
        (entry(), Capacity(gpus=("A9000",)), BadInput, "nearest known"),
        (entry(), Capacity(gpus=("MI300X",)), NoPlan, "not sold in us-east-1"),
        (entry(engine=EngineOverrides(gpu="H100")), Capacity(gpus=("L4",)), BadInput, "not in capacity.gpus"),
        (entry(replicas=ReplicaBounds(ceiling=1), rate=60), Capacity(gpus=("A10G",)), NoPlan, "allows 1"),
        (entry("nobody/nothing"), Capacity(), BadInput, "not in the catalogue"),
        (entry(), Capacity(zones=6), NoPlan, "capacity.zones"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    one: ModelEntry, capacity: Capacity, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as refused:
        plan_model(one, Market(capacity=capacity, region=REGION, catalogue=CATALOGUE))
    assert "\n" not in str(refused.value)


def test_two_models_of_one_name_and_no_model_are_refused() -> None:
    with pytest.raises(BadInput, match="two models are called 'chat'"):
        stack(entry(), entry())
    with pytest.raises(BadInput, match="no model"):
        stack()


def test_the_same_input_gives_the_same_plan() -> None:
    first, again = (stack(entry(), entry(LARGE, name="large")) for _ in range(2))
    assert dataclasses.asdict(again, dict_factory=dict) == dataclasses.asdict(first, dict_factory=dict)


def test_planning_two_models_takes_no_longer_than_three_million_squares() -> None:
    planning = cpu_seconds(lambda: stack(entry(), entry(LARGE, name="large")))
    assert planning < 3 * cpu_seconds(million_squares)


def test_spot_pools_name_several_types_unless_the_budget_needs_the_cheapest_alone() -> None:
    calm = entry(rate=3, objectives=Objectives(ttft_p95_ms=6000))
    wide = stack(calm, spot_share=1.0, gpus=("A10G",))
    spot = next(pool for pool in wide.pools if pool.capacity_type == "spot")
    assert [offer.instance_type for offer in spot.offers] == ["g5.xlarge", "g5.2xlarge"]
    month = wide.burn_usd_per_hour.ceiling * HOURS_PER_MONTH
    tight = stack(calm, usd=month - 1, spot_share=1.0, gpus=("A10G",))
    assert [offer.instance_type for offer in tight.pools[-1].offers] == ["g5.xlarge"]


def test_of_equal_cost_the_choice_is_what_costs_least_at_the_most_traffic() -> None:
    one = entry(LARGE, rate=3, workload={"input_tokens": 800, "output_tokens": 200})
    options = enumerate_options(
        one, Market(capacity=Capacity(gpus=("A100-40GB",)), region=REGION, catalogue=CATALOGUE)
    ).options
    equals = [option for option in options if option.order[:3] == options[0].order[:3]]
    assert len({option.split.ceiling for option in equals}) > 1
    assert options[0].split.ceiling == min(option.split.ceiling for option in equals)


def test_alternatives_are_other_engines_and_their_larger_machines_are_among_the_dearer() -> None:
    made = plan_model(entry(rate=6), Market(capacity=Capacity(), region=REGION, catalogue=CATALOGUE))
    engines = [(p.gpu, p.tensor_parallel, p.pipeline_parallel) for p in (made.chosen, *made.alternatives)]
    assert len(set(engines)) == len(engines) == 6
    larger = [one for one in made.rejected if one.option.startswith(f"{made.chosen.gpu} TP1 on ")]
    assert larger[0].reason.startswith("dearer: ")


def test_what_costs_the_same_is_not_called_dearer() -> None:
    one = entry(LARGE, rate=3, workload={"input_tokens": 800, "output_tokens": 200})
    made = plan_model(one, Market(capacity=Capacity(gpus=("A100-40GB",)), region=REGION, catalogue=CATALOGUE), top=0)
    reasons = {row.option: row.reason for row in made.rejected}
    best = made.chosen.usd_per_hour.expected
    same = [reason for reason in reasons.values() if reason.startswith("as dear as A100-40GB TP")]
    assert any(reason.endswith(f"({best:.2f} USD/h expected), with more cost at the most traffic") for reason in same)
    assert not [reason for reason in reasons.values() if f"dearer: {best:.2f} USD" in reason]
