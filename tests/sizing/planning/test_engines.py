"""Checkpoints, parallel sizes and engine settings: the bounds of the search lose nothing, and it plans sensibly."""

from __future__ import annotations

import itertools

import pytest

from sizing.catalogue import load_catalogue
from sizing.errors import BadInput
from sizing.inputs import Capacity, ModelEntry
from sizing.plan import ServingPlan
from sizing.planning.planner import plan_model
from sizing.planning.search.engines import (
    BestLatency,
    build_engine,
    first_settings,
    ideal_rates,
    settings_of,
    try_settings,
)
from sizing.planning.search.enumeration import enumerate_options
from sizing.planning.search.options import Market
from sizing.planning.search.parallel_configs import ParallelConfig
from sizing.workload.workload import Objectives, Workload

CATALOGUE = load_catalogue()
QWEN, NEXT = "Qwen/Qwen3-32B", "Qwen/Qwen3-Next-80B-A3B-Instruct"


def entry(model: str = QWEN, *, rate: float = 4.0, tokens: tuple[int, int] = (900, 250), **more: object) -> ModelEntry:
    workload = Workload(requests_per_second=rate, input_tokens=tokens[0], output_tokens=tokens[1])
    return ModelEntry(name="served", model=model, workload=workload, **more)


def shape(one: ModelEntry, gpu: str, tensor: int = 1, pipeline: int = 1) -> ParallelConfig:
    card, model = CATALOGUE.gpu(gpu), CATALOGUE.model(one.model)
    return ParallelConfig(entry=one, model=model, gpu=card, tensor_parallel=tensor, pipeline_parallel=pipeline)


def chosen(one: ModelEntry, *gpus: str) -> ServingPlan:
    return plan_model(
        one, Market(capacity=Capacity(zones=1, gpus=gpus or None), region="us-east-1", catalogue=CATALOGUE)
    ).chosen


@pytest.mark.parametrize(
    ("gpu", "tensor", "pipeline"), [("L40S", 2, 1), ("L40S", 2, 2), ("A10G", 8, 1), ("H100", 1, 1)]
)
def test_the_settings_kept_carry_as_much_as_any_and_none_exceeds_the_ideal(
    gpu: str, tensor: int, pipeline: int
) -> None:
    lax = Objectives(ttft_p95_ms=30_000, tpot_p95_ms=120)
    one = entry(rate=90.0, allow_fp8_kv_cache=True, tokens=(2000, 300), objectives=lax)
    tried = shape(one, gpu, tensor, pipeline)
    first = build_engine(tried, BestLatency()).settings
    most = max(try_settings(tried, settings).rates.within for settings in settings_of(tried, first))
    assert build_engine(tried, BestLatency()).most.requests_per_s == pytest.approx(most, rel=1e-5)
    assert most <= ideal_rates(tried, first_settings(tried)).within * (1 + 1e-5)


@pytest.mark.parametrize("rate", [0.2, 3.0, 30.0])
@pytest.mark.parametrize("spot_share", [0.0, 1.0])
def test_what_is_left_out_of_the_search_is_no_cheaper_at_any_ceiling(rate: float, spot_share: float) -> None:
    one, capacity = entry(rate=rate), Capacity(zones=1, spot_share=spot_share)
    market = Market(capacity=capacity, region="us-east-1", catalogue=CATALOGUE)
    full, kept = (enumerate_options(one, market, keep=keep).options for keep in (None, 1))
    assert len(kept) < len(full)
    for option in full:
        fitting = (other for other in kept if other.ceiling_usd_per_hour <= option.ceiling_usd_per_hour)
        assert min(other.order for other in fitting)[:2] <= option.order[:2]


def test_a_quantised_checkpoint_serves_only_where_it_is_allowed_and_then_costs_no_more() -> None:
    plain = chosen(entry(), "L40S", "A10G")
    allowed = chosen(entry(allowed_variants=("Qwen/Qwen3-32B-FP8", "Qwen/Qwen3-32B-AWQ")), "L40S", "A10G")
    assert plain.model == QWEN
    assert allowed.model in {"Qwen/Qwen3-32B-FP8", "Qwen/Qwen3-32B-AWQ"}
    assert allowed.revision == CATALOGUE.model(allowed.model).revision
    assert allowed.usd_per_hour.expected < plain.usd_per_hour.expected


def test_another_model_is_no_variant() -> None:
    with pytest.raises(BadInput, match="no checkpoint of Qwen/Qwen3-32B"):
        chosen(entry(allowed_variants=("Qwen/Qwen3-8B-FP8",)))


def test_the_cache_is_kept_in_fp8_only_where_it_is_allowed_and_the_card_computes_in_it() -> None:
    caches = {
        (gpu, allowed): {one.kv_cache_dtype for one in settings_of(tried, first_settings(tried))}
        for gpu, allowed in itertools.product(("A10G", "L40S"), (False, True))
        for tried in [shape(entry(allow_fp8_kv_cache=allowed), gpu, 4)]
    }
    assert caches == {
        ("A10G", False): {"auto"}, ("A10G", True): {"auto"}, ("L40S", False): {"auto"}, ("L40S", True): {"auto", "fp8"},
    }  # fmt: skip


def test_replicas_beat_tensor_parallelism_over_pcie_where_one_card_is_enough() -> None:
    for gpu in ("A10G", "L4"):
        plan = chosen(entry("Qwen/Qwen3-4B", rate=20.0, objectives=Objectives(ttft_p95_ms=10_000)), gpu)
        assert (plan.tensor_parallel, plan.pipeline_parallel) == (1, 1)


@pytest.mark.parametrize(
    ("model", "gpu", "width"),
    [("deepseek-ai/DeepSeek-R1", "H200", 8), ("openai/gpt-oss-120b", "H100", 1), (NEXT, "H200", 2)],
)
def test_large_models_of_experts_get_the_machine_that_they_are_known_to_run_on(
    model: str, gpu: str, width: int
) -> None:
    plan = chosen(entry(model, rate=0.5, objectives=Objectives(ttft_p95_ms=8000)), gpu)
    assert (plan.gpu, plan.tensor_parallel, plan.meets) == (gpu, width, True)
