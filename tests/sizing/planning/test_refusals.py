"""Hints follow from what an option lost by, never from the words in which that is told."""

from __future__ import annotations

import dataclasses
import typing

import pytest

from sizing.catalogue import load_catalogue
from sizing.inputs import Capacity, ModelEntry, Quota, ReplicaBounds
from sizing.planning.refusals import no_plan, no_plan_way_out
from sizing.planning.search.enumeration import enumerate_options
from sizing.planning.search.options import Market, Search
from sizing.planning.search.parallel_configs import Rejected, RejectionKind
from sizing.workload.workload import Objectives, Workload

CATALOGUE = load_catalogue()
LOAD = Workload(requests_per_second=6, input_tokens=900, output_tokens=250)
SMALL, LARGE = "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.3-70B-Instruct"


def entry(model: str = SMALL, **stated: object) -> ModelEntry:
    return ModelEntry(**{"name": "chat", "model": model, "workload": LOAD, **stated})


REFUSED = {
    "zones": (entry(), Capacity(gpus=("H200",), zones=4), "us-east-1"),
    "sold": (entry(), Capacity(gpus=("B200",), zones=1), "eu-west-1"),
    "quota": (entry(), Capacity(quotas=(Quota(code="L-DB2E81BA", vcpus=0),)), "us-east-1"),
    "fits": (entry(LARGE), Capacity(gpus=("L4",)), "us-east-1"),
    "objectives": (entry(objectives=Objectives(ttft_p95_ms=1)), Capacity(), "us-east-1"),
    "replicas": (entry(replicas=ReplicaBounds(ceiling=1), loss_tolerance="zone"), Capacity(), "us-east-1"),
}


def searched(case: str) -> Search:
    stated, capacity, region = REFUSED[case]
    return enumerate_options(stated, Market(capacity=capacity, region=region, catalogue=CATALOGUE))


@pytest.mark.parametrize("case", REFUSED)
def test_other_words_for_a_reason_change_neither_the_hint_nor_which_reasons_are_told(case: str) -> None:
    stated, _, region = REFUSED[case]
    search, reworded = searched(case), searched(case)
    reworded.rejected = [dataclasses.replace(one, reason=f"put another way: {one.kind}") for one in search.rejected]
    assert no_plan_way_out(search, region, CATALOGUE) == no_plan_way_out(reworded, region, CATALOGUE)
    before, after = no_plan(stated, search), no_plan(stated, reworded)
    for one in search.rejected:
        assert (f"{one.option}: {one.reason}" in before) == (f"{one.option}: put" in after)


def test_the_hint_names_what_the_kind_says() -> None:
    def way_out(kind: RejectionKind) -> str:
        search = Search(rejected=[Rejected(option="x", kind=kind, reason="y")], placed=True, configs=[None])  # type: ignore[list-item]
        return no_plan_way_out(search, "us-east-1", CATALOGUE)

    assert way_out("quota").startswith("ask for more in Service Quotas")
    assert {way_out(kind) for kind in typing.get_args(RejectionKind) if kind != "quota"} == {
        "lower requestsPerSecond or capacity.zones, allow more GPUs, or raise replicas.ceiling"
    }
