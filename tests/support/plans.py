"""Plans for tests of whoever consumes them: plausible figures, every one of them can be overridden by name.

``serving_plan(resources={"gpus": 4}, tensor_parallel=4)``: a mapping replaces fields of a nested part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass, replace
from typing import Any, TypeVar

from sizing.catalogue import load_catalogue
from sizing.cost.budget import fast_burn_vcpus
from sizing.inputs import Budget, Capacity, ModelEntry
from sizing.nodes.lifecycle import with_lifetimes
from sizing.nodes.pools import gpu_quota
from sizing.plan import (
    BillLine,
    Bounds,
    BudgetPlan,
    Disk,
    EngineSettings,
    InstanceOffer,
    Interval,
    MemoryEstimate,
    NodePoolPlan,
    PodResources,
    Replicas,
    ServingPlan,
    StackPlan,
    StartUp,
    ThroughputEstimate,
    VectorStorePlan,
)
from sizing.plan.operation import Drain, LongestAnswer, Probe, Probes, Scaling
from sizing.planning.request import PlanRequest
from sizing.serving.autoscaling import fallback
from sizing.serving.gateway import gateway_plan
from sizing.serving.ingest import ingest
from sizing.serving.placement import placement
from sizing.serving.rollout import rollout
from sizing.serving.vector_store import vector_store_probes

Plan = TypeVar("Plan")
DECIDED: Any = None
"""Filled in by the rules once the fields that they read are set."""


def _with(plan: Plan, overrides: Mapping[str, Any]) -> Plan:
    """Return the plan with fields replaced; a mapping for a nested dataclass replaces fields of that."""
    changes = {}
    for name, value in overrides.items():
        current = getattr(plan, name)
        nested = is_dataclass(current) and isinstance(value, Mapping)
        changes[name] = _with(current, value) if nested else value
    return replace(plan, **changes)  # type: ignore[type-var]


def _memory() -> MemoryEstimate:
    return MemoryEstimate(
        fits=True,
        total_gib=22.05,
        requested_gib=20.28,
        weights_gib=14.99,
        peak_activation_gib=1.2,
        non_torch_gib=0.2,
        cuda_graph_gib=0.5,
        kv_cache_gib=3.39,
        kv_cache_gib_interval=Interval(p10=3.1, p50=3.39, p90=3.6),
        fits_at_p90=True,
        kv_tokens=27_760,
        max_concurrency=3.39,
        kv_bytes_per_token=131_072,
        binding="kv_cache",
        hints=(),
        figures=(),
    )


def _throughput() -> ThroughputEstimate:
    return ThroughputEstimate(
        concurrency=16.0,
        output_tokens_per_s=Interval(p10=300.0, p50=360.0, p90=420.0),
        ttft_ms=Interval(p10=250.0, p50=320.0, p90=500.0),
        tpot_ms=Interval(p10=38.0, p50=44.0, p90=52.0),
        requests_per_s=1.5,
        prefill_ms=320.0,
        figures=(),
    )


def _engine() -> EngineSettings:
    return EngineSettings(
        vllm_version="0.32.0",
        tensor_parallel=1,
        pipeline_parallel=1,
        max_model_len=8192,
        max_num_seqs=64,
        max_num_batched_tokens=2048,
        gpu_memory_utilization=0.92,
        kv_cache_dtype="auto",
        enforce_eager=False,
        dtype="bfloat16",
    )


def serving_plan(**overrides: Any) -> ServingPlan:
    """Return a plan of Llama-3.1-8B on one L4, replicas 1 / 2 / 4, with the given fields replaced."""
    plan = ServingPlan(
        name="chat",
        model="meta-llama/Llama-3.1-8B-Instruct",
        revision="0e9e39f249a16976918f6564b8830bc894c89659",
        gpu="L4",
        instance_type="g6.2xlarge",
        instances_per_replica=1,
        replicas_per_instance=1,
        tensor_parallel=1,
        pipeline_parallel=1,
        engine=_engine(),
        engine_args=("--tensor-parallel-size", "1", "--max-model-len", "8192", "--gpu-memory-utilization", "0.92"),
        memory=_memory(),
        throughput=_throughput(),
        replicas=Replicas(floor=1, expected=2, ceiling=4),
        scale_to_zero=False,
        loss_tolerance="none",
        start_up=StartUp(node_s=90.0, image_pull_s=120.0, weights_load_s=20.0, compile_s=60.0, warm_up_s=15.0),
        probes=Probes(
            startup=Probe(path="/health", period_s=10, timeout_s=10, failure_threshold=30),
            liveness=Probe(path="/health", period_s=10, timeout_s=10, failure_threshold=6),
            readiness=Probe(path="/v1/models", period_s=5, timeout_s=10, failure_threshold=3),
        ),
        drain=Drain(pre_stop_s=15, shutdown_timeout_s=60, grace_period_s=90),
        longest_answer=LongestAnswer(
            output_tokens=1000, stated=True, queue_s=11.0, first_token_s=1.0, token_ms=66.0, total_s=78
        ),
        interrupted_share=0.004,
        http_keep_alive_s=120,
        paths=("/detokenize", "/tokenize", "/v1/chat/completions", "/v1/completions", "/v1/models"),
        scaling=Scaling(
            requests_per_s=1.5,
            spare_requests_per_s=0.0,
            rate_window_s=120,
            waiting_requests=16,
            kv_cache_usage=0.85,
            ttft_s=1.5,
            ttft_quantile=0.92,
            polling_s=15,
            scale_up_tolerance=0.1,
            scale_up_window_s=30,
            scale_up_pods=2,
            scale_up_period_s=60,
            scale_down_window_s=600,
            scale_down_pods=1,
            scale_down_period_s=120,
            cooldown_s=900,
        ),
        resources=PodResources(gpus=1, cpu=6.0, memory_gib=24.0, shm_gib=2, ephemeral_gib=20),
        surge=1,
        pools=("chat-floor", "chat-spot", "chat-burst"),
        usd_per_hour=Bounds(floor=0.98, expected=1.4, ceiling=3.91),
        usd_per_million_output_tokens=1.1,
        weights_bytes=16_060_556_376,
        reads_once=False,
        ttft_p95_ms=640.0,
        tpot_p95_ms=66.0,
        most_requests_per_s_per_replica=1.5,
        meets=True,
        figures=(),
        rollout=DECIDED,
        placement=DECIDED,
        fallback=DECIDED,
        ingest=DECIDED,
    )
    decided = {
        name: overrides.pop(name) for name in ("rollout", "placement", "fallback", "ingest") if name in overrides
    }
    return _with(_operated(_with(plan, overrides)), decided)


def _operated(plan: ServingPlan) -> ServingPlan:
    """Return the plan with what follows from its figures, by the rules of ``sizing``; its pools are in two zones."""
    return replace(
        plan,
        rollout=rollout(
            plan.start_up, plan.probes, plan.drain, plan.replicas, per_node=plan.replicas_per_instance, surge=plan.surge
        ),
        placement=placement(
            plan.replicas,
            per_node=plan.replicas_per_instance,
            zones=2,
            pools=len(plan.pools),
            tolerance=plan.loss_tolerance,
            shared=bool(plan.shares_with),
        ),
        fallback=fallback(plan.replicas, scale_to_zero=plan.scale_to_zero),
        ingest=ingest(plan.weights_bytes),
    )


def large_serving_plan(**overrides: Any) -> ServingPlan:
    """Return a plan of Llama-3.1-70B over four L40S with tensor parallelism, replicas 2 / 3 / 4."""
    four = {"tensor_parallel": 4}
    fields: dict[str, Any] = {
        "name": "large",
        "model": "meta-llama/Llama-3.1-70B-Instruct",
        "revision": "1605565b47bb9346c5515c34102e054115b4f98b",
        "gpu": "L40S",
        "instance_type": "g6e.12xlarge",
        "tensor_parallel": 4,
        "engine": four,
        "engine_args": ("--tensor-parallel-size", "4", "--max-model-len", "8192"),
        "replicas": {"floor": 2, "expected": 3, "ceiling": 4},
        "start_up": {"weights_load_s": 150.0, "compile_s": 70.0},
        "probes": {"startup": Probe(path="/health", period_s=10, timeout_s=10, failure_threshold=47)},
        "resources": PodResources(gpus=4, cpu=44.0, memory_gib=344.0, shm_gib=8, ephemeral_gib=40),
        "surge": 0,
        "pools": ("large-floor", "large-spot"),
        "weights_bytes": 141_107_497_872,
        "reads_once": True,
    }
    return serving_plan(**{**fields, **overrides})


def node_pool_plan(**overrides: Any) -> NodePoolPlan:
    """Return the on-demand floor pool of ``serving_plan()`` with the given fields replaced."""
    name = overrides.get("name", "chat-floor")
    plan = NodePoolPlan(
        name=name,
        kind="managed",
        capacity_type="on-demand",
        gpu="L4",
        karpenter_gpu_name="l4",
        offers=(
            InstanceOffer(
                instance_type="g6.2xlarge",
                gpus=1,
                vcpu=8,
                memory_gib=32.0,
                on_demand_usd_per_hour=0.9776,
                spot_usd_per_hour=0.41,
                zone_ids=("use1-az1", "use1-az2"),
            ),
        ),
        zones=("use1-az1", "use1-az2"),
        floor_instances=1,
        expected_instances=1,
        mean_instances=1,
        ceiling_instances=1,
        gpu_limit=1,
        labels={"tonnage.dev/pool": name, "tonnage.dev/gpu": "L4"},
        taint_key="nvidia.com/gpu",
        taint_value="present",
        disk=Disk(size_gib=120, iops=3000, throughput_mib_per_s=500),
        models=("chat",),
        usd_per_hour=Bounds(floor=0.9776, expected=0.9776, ceiling=0.9776),
    )
    return _with(plan, overrides)


def pools_for(plan: ServingPlan) -> tuple[NodePoolPlan, ...]:
    """Return one pool per name that the plan carries; the suffix decides its kind and capacity type."""
    pools = (
        node_pool_plan(
            name=name,
            kind="managed" if name.endswith("-floor") else "karpenter",
            capacity_type="spot" if name.endswith("-spot") else "on-demand",
            fallback_capacity_type="on-demand" if name.endswith("-spot") else None,
            gpu=plan.gpu,
            karpenter_gpu_name=plan.gpu.lower(),
            models=(plan.name,),
        )
        for name in plan.pools
    )
    return with_lifetimes(pools, (plan,))


def vector_store_plan(**overrides: Any) -> VectorStorePlan:
    """Return a plan of Qdrant with three replicas, 24 GiB each."""
    plan = VectorStorePlan(
        replicas=3,
        memory_gib=24.0,
        cpu=4.0,
        disk_gib=100,
        shards=12,
        copies=2,
        probes=vector_store_probes(),
        grace_period_s=120,
        snapshot_deadline_s=14_400,
        snapshot_memory_gib=0.5,
        snapshot_days=7,
        snapshot_version_days=1,
        figures=(),
    )
    return _with(plan, overrides)


def budget_alarms(**overrides: Any) -> BudgetPlan:
    """Return a budget of 6000 USD that notifies at 50, 80 and 100 percent, with the given fields replaced."""
    plan = BudgetPlan(
        monthly_usd=6000.0,
        on_exceed="notify",
        notify=("ops@example.com",),
        actual_thresholds_percent=(50.0, 80.0, 100.0),
        forecast_threshold_percent=100.0,
        fast_burn_gpu_nodes=4,
        fast_burn_vcpus=32,
        alarm_period_s=300,
        alarm_periods=2,
        freeze_at_percent=100.0,
    )
    return _with(plan, overrides)


def stack_plan(*models: ServingPlan, **overrides: Any) -> StackPlan:
    """Return a stack of the given models (default: one) with their pools and a budget above the burn."""
    served = models or (serving_plan(),)
    burn = Bounds(
        floor=sum(model.usd_per_hour.floor for model in served),
        expected=sum(model.usd_per_hour.expected for model in served),
        ceiling=sum(model.usd_per_hour.ceiling for model in served),
    )
    pools = tuple(pool for model in served for pool in pools_for(model))
    plan = StackPlan(
        stack="test",
        region="us-east-1",
        models=served,
        pools=pools,
        vector_store=None,
        bill=(BillLine(name="GPUs", usd_per_hour=burn, rule="instances x price"),),
        burn_usd_per_hour=burn,
        budget=budget_alarms(fast_burn_vcpus=fast_burn_vcpus(pools)),
        catalogue_date="2026-11-20",
        warnings=(),
        gateway=gateway_plan(served, proxies=2),
        gpu_quota=gpu_quota(pools),
    )
    return _with(plan, overrides)


def plan_request(entries: Sequence[ModelEntry], **stated: Any) -> PlanRequest:
    """Return what a stack of ``entries`` asks for: any machine of us-east-1, a budget that nothing exceeds."""
    usual: dict[str, Any] = {
        "stack": "test",
        "capacity": Capacity(),
        "budget": Budget(monthly_usd=1e8),
        "region": "us-east-1",
        "catalogue": load_catalogue(),
        "vector_store": None,
        "internet_facing": False,
        "gateway_proxies": 2,
    }
    return PlanRequest(models=tuple(entries), **{**usual, **stated})
