"""A stated quota bounds the fleet; one that is left out bounds nothing."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from sizing.catalogue import load_catalogue
from sizing.errors import BadInput, NoPlan
from sizing.inputs import Capacity, ModelEntry, Quota
from sizing.nodes.quotas import Purchase, purchases_of, vcpus_by_quota
from sizing.planning.planner import plan_model, plan_stack
from sizing.planning.search.options import Market
from sizing.workload.workload import Workload
from tests.support.plans import plan_request

CATALOGUE = load_catalogue()
REGION = "us-east-1"
ON_DEMAND, SPOT = "L-DB2E81BA", "L-3819A6DF"
GPUS = ("A10G", "L4", "L40S")


def entry(name: str = "chat", rate: float = 20.0) -> ModelEntry:
    workload = Workload(requests_per_second=rate, input_tokens=900, output_tokens=250)
    return ModelEntry(name=name, model="meta-llama/Llama-3.1-8B-Instruct", workload=workload)


def capacity(**vcpus: int) -> Capacity:
    codes = {"on_demand": ON_DEMAND, "spot": SPOT}
    return Capacity(gpus=GPUS, quotas=tuple(Quota(code=codes[name], vcpus=count) for name, count in vcpus.items()))


def test_a_plan_runs_no_more_vcpus_than_the_quotas_allow() -> None:
    free = plan_model(entry(), Market(capacity=capacity(), region=REGION, catalogue=CATALOGUE))
    needed = vcpus_by_quota(purchases_of(free.pools), CATALOGUE)
    exact = plan_model(
        entry(),
        Market(capacity=capacity(on_demand=needed[ON_DEMAND], spot=needed[SPOT]), region=REGION, catalogue=CATALOGUE),
    )
    assert exact.chosen == free.chosen
    bounded = plan_model(
        entry(), Market(capacity=capacity(on_demand=1000, spot=needed[SPOT] - 1), region=REGION, catalogue=CATALOGUE)
    )
    assert vcpus_by_quota(purchases_of(bounded.pools), CATALOGUE)[SPOT] < needed[SPOT]
    assert any(SPOT in one.reason for one in bounded.rejected)


def test_a_quota_of_a_new_account_is_a_clear_no_that_names_it() -> None:
    with pytest.raises(
        NoPlan, match=rf"needs \d+ vCPU of quota {ON_DEMAND} \(Running On-Demand G and VT instances\), 0"
    ):
        plan_model(entry(), Market(capacity=capacity(on_demand=0), region=REGION, catalogue=CATALOGUE))


def test_models_that_fit_one_by_one_are_refused_when_they_do_not_fit_together() -> None:
    pools = plan_model(entry(), Market(capacity=capacity(), region=REGION, catalogue=CATALOGUE)).pools
    needed = vcpus_by_quota(purchases_of(pools), CATALOGUE)
    bounds = capacity(on_demand=needed[ON_DEMAND], spot=needed[SPOT])
    models = [entry("one"), entry("two")]
    with pytest.raises(NoPlan, match="the models together: needs"):
        plan_stack(plan_request(models, capacity=bounds))


def test_a_quota_stated_twice_or_unknown_is_refused() -> None:
    twice = ({"code": SPOT, "vcpus": 1}, {"code": SPOT, "vcpus": 2})
    with pytest.raises(ValidationError, match="stated twice"):
        Capacity.model_validate({"quotas": twice})
    unknown = Capacity(quotas=(Quota(code="L-00000000", vcpus=1),))
    with pytest.raises(BadInput, match="no vCPU quota of the catalogue"):
        plan_model(entry(), Market(capacity=unknown, region=REGION, catalogue=CATALOGUE))


def test_spot_nodes_need_the_quota_on_demand_too_which_they_fall_back_to() -> None:
    offers = (CATALOGUE.instance("g6e.xlarge").offer(REGION),)
    spot = (Purchase(capacity_type="spot", nodes=3, offers=offers),)
    assert vcpus_by_quota(spot, CATALOGUE) == {SPOT: 12, ON_DEMAND: 12}
    on_demand = (Purchase(capacity_type="on-demand", nodes=3, offers=offers),)
    assert vcpus_by_quota(on_demand, CATALOGUE) == {ON_DEMAND: 12}
