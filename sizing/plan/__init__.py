"""The contract between the halves: what the core decides and everything else copies.

Frozen dataclasses with units in the names. ``ServingPlan`` is one model, ``NodePoolPlan`` one set of nodes,
``StackPlan`` the whole stack. ``Figure`` is the explanation of one number: its rule, its inputs and the
source of its constants. All sizes are GiB (2**30 bytes), all prices USD, all tokens per second are over all
GPUs of one replica. How a plan is operated is in ``sizing.plan.operation``.

What does not live here: rules (the other packages of ``sizing``) and documents (``components``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sizing.plan.operation import (
    Drain,
    Fallback,
    GatewayPlan,
    Ingest,
    LongestAnswer,
    NodeLifetime,
    Placement,
    Probes,
    Rollout,
    Scaling,
)
from sizing.units import CENT

CapacityType = Literal["on-demand", "spot"]


LossTolerance = Literal["none", "replica", "zone"]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A prediction with its spread: the truth lies between p10 and p90 four times out of five."""

    p10: float
    p50: float
    p90: float


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """A figure at the least, at the planned and at the most traffic; floor <= expected <= ceiling."""

    floor: float
    expected: float
    ceiling: float


@dataclass(frozen=True, kw_only=True)
class Replicas:
    """Replica counts; floor runs always, ceiling is the most that autoscaling may start."""

    floor: int
    expected: int
    ceiling: int
    batch: float = 0.0
    """Parts of replicas, beside the floor, that requests which may wait take."""
    by_hour: tuple[int, ...] = ()
    """Replicas in each hour of a stated day; none where every hour is planned as the busiest."""

    @property
    def hours(self) -> tuple[int, ...]:
        """Replicas hour by hour; a single figure stands for all hours."""
        return self.by_hour or (self.expected,)

    @property
    def mean(self) -> float:
        """Replicas on average over the day."""
        return sum(self.hours) / len(self.hours)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Why a number is what it is."""

    name: str
    value: float | str
    unit: str
    rule: str
    inputs: Mapping[str, float | str]
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Resolved settings of one vLLM engine; nothing is left to its defaults."""

    vllm_version: str
    tensor_parallel: int
    pipeline_parallel: int
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: float
    kv_cache_dtype: str
    enforce_eager: bool
    dtype: str
    block_size: int = 16
    """Tokens of a block before hybrids enlarge it."""
    enable_prefix_caching: bool = True
    enable_expert_parallel: bool = False
    """Experts are divided over the ranks of tensor and data parallelism instead of being split."""
    data_parallel: int = 1
    """Ranks of data parallelism that share the experts (data-parallel attention)."""
    decode_context_parallel: int = 1
    """Ranks of tensor parallelism over which the tokens of one request's cache are spread."""
    max_loras: int = 0
    """Adapters resident at once; 0 without LoRA."""
    max_lora_rank: int = 16
    speculative_method: str = ""
    """Empty, ngram, mtp (layers of the model), eagle, eagle3, medusa (heads of their own), draft (a smaller model)."""
    num_speculative_tokens: int = 0
    speculative_acceptance: float | None = None
    """Share of drafted tokens that the target accepts, as vLLM's metrics count them; None where nobody stated it."""
    draft_model: str = ""
    """Name of the draft; empty where the method needs none."""
    limit_mm_per_prompt: int | None = None
    """Images, videos or sounds of one prompt, each; 0 serves text alone; None is the engine's own limit."""
    mm_processor_cache_gib: float = 0.0
    """Host memory of each process for inputs that were processed before; 0 where no flag sets it: text alone."""


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Memory of one engine per GPU by term, as vLLM accounts it."""

    fits: bool
    total_gib: float
    requested_gib: float
    weights_gib: float
    peak_activation_gib: float
    non_torch_gib: float
    cuda_graph_gib: float
    kv_cache_gib: float
    kv_cache_gib_interval: Interval
    fits_at_p90: bool
    """True where it still starts when every term is at the 90th percentile of its demand."""
    kv_tokens: int
    max_concurrency: float
    kv_bytes_per_token: int | None
    binding: str
    hints: tuple[str, ...]
    figures: tuple[Figure, ...]


@dataclass(frozen=True, kw_only=True)
class ThroughputEstimate:
    """Speed of one replica at a given number of requests in flight."""

    concurrency: float
    output_tokens_per_s: Interval
    ttft_ms: Interval
    tpot_ms: Interval
    requests_per_s: float
    prefill_ms: float
    """Time that one prompt takes of the engine."""
    figures: tuple[Figure, ...]


@dataclass(frozen=True, kw_only=True)
class StartUp:
    """Predicted seconds from a bought node to a ready replica, by phase."""

    node_s: float
    image_pull_s: float
    weights_load_s: float
    compile_s: float
    warm_up_s: float

    @property
    def pod_s(self) -> float:
        """Seconds that the pod itself needs: everything but the node and the image."""
        return self.weights_load_s + self.compile_s + self.warm_up_s

    @property
    def total_s(self) -> float:
        """Seconds from nothing to the first token."""
        return self.node_s + self.image_pull_s + self.pod_s


@dataclass(frozen=True, kw_only=True)
class PodResources:
    """Requests of one serving pod; GPU count is exact, memory contains the shared memory."""

    gpus: int
    cpu: float
    memory_gib: float
    shm_gib: int
    ephemeral_gib: int


@dataclass(frozen=True, kw_only=True)
class Disk:
    """Root volume (gp3) of a GPU node."""

    size_gib: int
    iops: int
    throughput_mib_per_s: int


@dataclass(frozen=True, kw_only=True)
class ServingPlan:
    """Everything decided for one model."""

    name: str
    model: str
    revision: str
    gpu: str
    instance_type: str
    instances_per_replica: int
    replicas_per_instance: int
    tensor_parallel: int
    pipeline_parallel: int
    engine: EngineSettings
    engine_args: tuple[str, ...]
    memory: MemoryEstimate
    throughput: ThroughputEstimate
    replicas: Replicas
    scale_to_zero: bool
    loss_tolerance: LossTolerance
    """What may be lost while the planned traffic is still carried within the objectives."""
    start_up: StartUp
    probes: Probes
    drain: Drain
    longest_answer: LongestAnswer
    interrupted_share: float
    """Share of the answers in flight that a leaving replica cuts, because they last longer than it drains."""
    paths: tuple[str, ...]
    """Paths of the engine that callers reach through the gateway."""
    http_keep_alive_s: int
    """Time that the engine keeps a connection without a request: longer than the gateway does."""
    scaling: Scaling
    resources: PodResources
    surge: int
    """Extra pods that a rollout may start because the pools have room for them (0: replace in place)."""
    pools: tuple[str, ...]
    """Names of the node pools that may run it, in order of preference."""
    usd_per_hour: Bounds
    usd_per_million_output_tokens: float
    weights_bytes: int
    reads_once: bool
    """Whether the ranks of a replica read the weights once and pass them on; else each rank reads all."""
    ttft_p95_ms: float
    """At the planned traffic, over requests and deployments."""
    tpot_p95_ms: float
    most_requests_per_s_per_replica: float
    """Arrivals that one replica carries within the objectives at the busiest hour."""
    meets: bool
    figures: tuple[Figure, ...]
    rollout: Rollout
    placement: Placement
    fallback: Fallback
    ingest: Ingest
    shares_with: tuple[str, ...] = ()
    """Names of the other models on the same nodes; its cost is its part of them by GPUs."""


@dataclass(frozen=True, kw_only=True)
class InstanceOffer:
    """One instance type that a pool may buy, with what it costs in the stack's region."""

    instance_type: str
    gpus: int
    vcpu: int
    memory_gib: float
    on_demand_usd_per_hour: float
    spot_usd_per_hour: float
    """Planned, never above on demand: what the catalogue makes of the prices that were seen."""
    zone_ids: tuple[str, ...]

    def usd_per_hour(self, capacity_type: CapacityType) -> float:
        """Return the price that is planned and paid for one node, in USD per hour."""
        return self.spot_usd_per_hour if capacity_type == "spot" else self.on_demand_usd_per_hour


@dataclass(frozen=True, kw_only=True)
class NodePoolPlan:
    """One set of GPU nodes: a managed node group (the on-demand floor) or a Karpenter NodePool (spot, burst).

    The most that the pool can cost is ``ceiling_instances`` x the highest on-demand price of its offers:
    a spot price never exceeds the on-demand price, so this bound holds whatever the spot market does.
    """

    name: str
    kind: Literal["managed", "karpenter"]
    capacity_type: CapacityType
    gpu: str
    karpenter_gpu_name: str
    offers: tuple[InstanceOffer, ...]
    zones: tuple[str, ...]
    floor_instances: int
    expected_instances: int
    """Nodes in the busiest hour."""
    mean_instances: float
    """Nodes on average over the day, which the expected cost is of."""
    ceiling_instances: int
    gpu_limit: int
    labels: Mapping[str, str]
    taint_key: str
    taint_value: str
    disk: Disk
    models: tuple[str, ...]
    usd_per_hour: Bounds
    fallback_capacity_type: CapacityType | None = None
    """Bought where ``capacity_type`` is not sold, within the same limit: the ceiling counts its price."""
    lifetime: NodeLifetime | None = None
    """None for a managed group, whose size is fixed."""
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SharedNodes:
    """Nodes that several models share because that is cheaper than own nodes for each."""

    name: str
    models: tuple[str, ...]
    gpu: str
    instance_type: str
    gpus_per_node: int
    pools: tuple[str, ...]
    usd_per_hour: Bounds
    apart_usd_per_hour: Bounds
    """Of the cheapest own nodes of each model together."""

    @property
    def saving_usd_per_hour(self) -> float:
        """Expected USD per hour less than apart; not above 0 where only the ceiling is lower, as a budget asks."""
        return self.apart_usd_per_hour.expected - self.usd_per_hour.expected

    @property
    def sentence(self) -> str:
        """Who shares and what that saves, in one line."""
        saved, lower = self.saving_usd_per_hour, self.apart_usd_per_hour.ceiling - self.usd_per_hour.ceiling
        who = f"{', '.join(self.models)} share nodes of {self.instance_type}"
        if saved >= CENT:
            return f"{who}: {saved:.2f} USD/h expected less than on nodes of their own"
        dearer = f", {-saved:.2f} USD/h expected dearer" if saved <= -CENT else ""
        return f"{who} to stay within the budget: ceiling {lower:.2f} USD/h lower than on nodes of their own{dearer}"


@dataclass(frozen=True, kw_only=True)
class BillLine:
    """One line of the bill."""

    name: str
    usd_per_hour: Bounds
    rule: str


@dataclass(frozen=True, kw_only=True)
class VectorStorePlan:
    """Sizes of the vector store, per replica."""

    replicas: int
    memory_gib: float
    cpu: float
    disk_gib: int
    shards: int
    copies: int
    """Replicas that keep each shard."""
    probes: Probes
    grace_period_s: int
    snapshot_deadline_s: int
    """Time after which a snapshot is given up."""
    snapshot_memory_gib: float
    """Memory of a snapshot's upload: the parts in flight grow with the disk."""
    snapshot_days: int
    snapshot_version_days: int
    """Days that a replaced version of a snapshot is kept."""
    figures: tuple[Figure, ...]


@dataclass(frozen=True, kw_only=True)
class BudgetPlan:
    """Alarm thresholds derived from the burn rates."""

    monthly_usd: float
    on_exceed: str
    notify: tuple[str, ...]
    actual_thresholds_percent: tuple[float, ...]
    forecast_threshold_percent: float
    fast_burn_gpu_nodes: int
    """More GPU nodes than this running means that something outside the plan buys machines."""
    fast_burn_vcpus: int
    """The same in vCPUs, which the alarm counts."""
    alarm_period_s: int
    alarm_periods: int
    freeze_at_percent: float
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StackPlan:
    """The whole stack: models, pools, bill, budget."""

    stack: str
    region: str
    models: tuple[ServingPlan, ...]
    pools: tuple[NodePoolPlan, ...]
    vector_store: VectorStorePlan | None
    bill: tuple[BillLine, ...]
    burn_usd_per_hour: Bounds
    budget: BudgetPlan
    catalogue_date: str
    warnings: tuple[str, ...]
    gateway: GatewayPlan
    gpu_quota: int
    """GPUs that the pods of the stack may ask for together."""
    shared: tuple[SharedNodes, ...] = ()
    figures: tuple[Figure, ...] = ()
    """Of what is no single model's: the gateway, the quota."""
