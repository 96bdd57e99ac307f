"""The costs of any plan stand in order and within the budget, line by line, and add up."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sizing.catalogue import load_catalogue
from sizing.cost.document import prompt_share, stack_costs
from sizing.errors import OverBudget
from sizing.inputs import Budget, Capacity, ModelEntry, VectorStore
from sizing.plan import Bounds, StackPlan
from sizing.planning.planner import plan_stack
from sizing.units import HOURS_PER_MONTH
from sizing.workload.workload import Workload
from tests.support.plans import plan_request

CATALOGUE = load_catalogue()
GPUS = ("A10G", "L4", "L40S")
MODELS = ("meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-8B")
FEW = settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def entry(rate: float, peak: float = 1.5, quiet: float = 0.2, *, zero: bool = False, which: int = 0) -> ModelEntry:
    workload = Workload(
        requests_per_second=rate, input_tokens=900, output_tokens=250, peak_factor=peak, minimum_share=quiet
    )
    return ModelEntry(name=f"m{which}", model=MODELS[which], workload=workload, scale_to_zero=zero)


def stack(entries: list[ModelEntry], usd: float = 1e6, store: VectorStore | None = None, **more: object) -> StackPlan:
    spot = more.pop("spot", 0.5)
    capacity = Capacity(gpus=GPUS, spot_share=spot)
    return plan_stack(
        plan_request(entries, capacity=capacity, budget=Budget(monthly_usd=usd), vector_store=store, **more)
    )


def in_order(bounds: Bounds) -> bool:
    return -1e-9 <= bounds.floor <= bounds.expected + 1e-9 <= bounds.ceiling + 2e-9


@FEW
@given(
    rate=st.floats(0.1, 40), peak=st.floats(1, 4), quiet=st.floats(0, 1), spot=st.floats(0, 1), zero=st.booleans(),
    outside=st.booleans(), vectors=st.sampled_from([None, 1_000_000]), budget=st.floats(2_000, 60_000),
)  # fmt: skip
def test_every_line_of_the_bill_is_in_order_and_the_ceiling_within_the_budget(
    rate: float, peak: float, quiet: float, spot: float, *, zero: bool, outside: bool, vectors: int | None,
    budget: float,
) -> None:  # fmt: skip
    store = VectorStore(vectors=vectors, dimensions=1024) if vectors else None
    one = entry(rate, peak, quiet, zero=zero)
    try:
        made = stack([one], budget, store, spot=spot, internet_facing=outside)
    except OverBudget as refused:
        smallest = float(refused.limit.split(" is ")[1].split()[0])
        assert smallest > budget
        made = stack([one], smallest, store, spot=spot, internet_facing=outside)
        budget = smallest
    assert all(in_order(line.usd_per_hour) for line in made.bill)
    assert in_order(made.burn_usd_per_hour)
    assert made.burn_usd_per_hour.ceiling * HOURS_PER_MONTH <= budget + 1e-6


def test_the_models_of_a_stack_divide_its_bill_among_them() -> None:
    entries = [entry(6), entry(3, which=1)]
    made = stack(entries)
    costs = stack_costs(made, entries, CATALOGUE)
    spent = 0.0
    for one in entries:
        tokens = costs[one.name]["usd_per_million_tokens"]
        load = one.workload
        each = load.input_tokens * tokens["input"] + load.output_tokens * tokens["output"]
        spent += each * load.requests_per_second * 3600 / 1e6
    assert spent == pytest.approx(made.burn_usd_per_hour.expected, rel=2e-3)


def test_shorter_answers_leave_prompts_a_larger_share_of_the_engine() -> None:
    one = entry(1)
    brief = one.model_copy(update={"workload": one.workload.model_copy(update={"output_tokens": 50})})
    plan = stack([one]).models[0]
    assert 0 < prompt_share(plan, one) < prompt_share(plan, brief) < 1
