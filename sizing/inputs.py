"""What a user states: models, workload, objectives, capacity, budget.

Frozen pydantic models; keys in stack files are camelCase, unknown keys are refused. They carry no Pulumi
value, so that ``tonnage plan`` and the stack settings share one definition. Units are in the names.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from sizing.plan import LossTolerance
from sizing.stated import COMMIT, KUBERNETES_NAME, Stated
from sizing.workload.workload import Objectives, Workload


class EngineOverrides(Stated):
    """Engine settings that the user fixes; what is absent is derived and explained."""

    gpu: str | None = Field(None, description="GPU type, a name of the catalogue, for example L40S")
    tensor_parallel: int | None = Field(None, ge=1, le=64, description="GPUs that share every layer of a replica")
    pipeline_parallel: int | None = Field(
        None, ge=1, le=64, description="stages into which the layers of a replica are cut, all on one instance"
    )
    max_model_len: int | None = Field(
        None,
        ge=16,
        le=10_000_000,
        description="longest prompt and answer together, in tokens; default: the model's context",
    )
    max_num_seqs: int | None = Field(None, ge=1, le=8192, description="most requests that one step computes")
    max_num_batched_tokens: int | None = Field(
        None, ge=16, le=1_000_000, description="most tokens that one step computes: prompts and answers together"
    )
    gpu_memory_utilization: float | None = Field(
        None, gt=0, le=1, description="share of the GPU's memory that vLLM may take; default: that of the version"
    )
    kv_cache_dtype: Literal["auto", "fp8"] | None = Field(
        None, description="number format of the KV cache; auto is that of the checkpoint"
    )
    enforce_eager: bool | None = Field(
        None, description="run without CUDA graphs: less memory, slower steps; default false"
    )
    vllm_version: str | None = Field(
        None, description="version of vLLM whose rules the estimate follows; default: newest of the catalogue"
    )
    block_size: int | None = Field(
        None, ge=1, le=1024, description="tokens in one block of the KV cache, a power of two; default: vLLM's"
    )
    enable_prefix_caching: bool | None = Field(
        None, description="keep the KV cache of prompts for requests that start alike; default: that of the version"
    )
    enable_expert_parallel: bool | None = Field(
        None, description="spread whole experts over the GPUs and do not cut each one; default: what the search finds"
    )
    data_parallel: int | None = Field(
        None, ge=1, le=64, description="data-parallel ranks in one replica, as vLLM counts them; default 1"
    )
    decode_context_parallel: int | None = Field(
        None,
        ge=1,
        le=64,
        description="GPUs over which the cache of one request is spread; divides tensorParallel; default 1",
    )
    max_loras: int | None = Field(
        None, ge=0, le=1024, description="LoRA adapters that one step may use; every request is planned with one"
    )
    max_lora_rank: int | None = Field(None, ge=1, le=512, description="largest rank of the adapters; default 16")
    speculative_method: Literal["ngram", "mtp", "eagle", "eagle3", "medusa", "draft"] | None = Field(
        None, description="how tokens are drafted; only ngram and mtp can be deployed, the others need a draft model"
    )
    num_speculative_tokens: int | None = Field(
        None, ge=0, le=64, description="tokens drafted for each step; stated together with speculativeMethod"
    )
    speculative_acceptance: float | None = Field(
        None, ge=0, le=1, description="share of drafted tokens that are accepted, as vLLM's metrics count them"
    )
    limit_mm_per_prompt: int | None = Field(
        None, ge=0, le=999, description="images, videos or audio clips in one prompt; 0 serves text alone"
    )


class ReplicaBounds(Stated):
    """Bounds on replicas that the user fixes; what is absent is derived from the traffic."""

    floor: int | None = Field(None, ge=0, le=1000, description="replicas that always run, on demand")
    ceiling: int | None = Field(None, ge=1, le=1000, description="most replicas that scaling may start")

    @model_validator(mode="after")
    def _ordered(self) -> ReplicaBounds:
        if self.floor is not None and self.ceiling is not None and self.floor > self.ceiling:
            msg = f"floor {self.floor} is above ceiling {self.ceiling}"
            raise ValueError(msg)
        return self


CheckpointName = Annotated[str, Field(min_length=1, max_length=200)]


class ModelEntry(Stated):
    """One served model: what it is, for what traffic, at what latency."""

    name: str = Field(pattern=KUBERNETES_NAME, description="name of the service in Kubernetes and at the gateway")
    model: str = Field(
        min_length=1, max_length=200, description="name of the model in the catalogue, which is that of the hub"
    )
    revision: str | None = Field(
        None,
        pattern=COMMIT,
        description="commit of the model at the hub, not of allowedVariants; default: that of the catalogue",
    )
    workload: Workload
    objectives: Objectives = Objectives()
    scale_to_zero: bool = Field(
        False, description="no replica while there is no traffic; the first caller waits; not beside a floor"
    )
    replicas: ReplicaBounds = ReplicaBounds()
    loss_tolerance: LossTolerance = Field(
        "none",
        description="what may be lost while the traffic is still carried within the objectives: none (no spare: "
        "latencies may suffer until it is replaced), replica (a node with its replicas), zone (all nodes of one); with "
        "either the model shares no nodes with others",
    )
    longest_output_tokens: int | None = Field(
        None,
        ge=1,
        le=10_000_000,
        description="most tokens of one answer, which the engine keeps to (max_new_tokens); how long an answer may last"
        " at the gateway follows from it; default: all that maxModelLen allows",
    )
    engine: EngineOverrides = EngineOverrides()
    allowed_variants: tuple[CheckpointName, ...] = Field(
        (),
        strict=False,
        max_length=16,
        description="other checkpoints of the same model, such as FP8 or AWQ, that may serve it",
    )
    allow_fp8_kv_cache: bool = Field(False, description="the KV cache may be kept in FP8 where the card computes in it")

    @model_validator(mode="after")
    def _sleeps_or_stays(self) -> ModelEntry:
        if self.scale_to_zero and self.replicas.floor:
            msg = (
                f"scaleToZero is true beside replicas.floor {self.replicas.floor}, which never sleeps; "
                "limit: floor 0; hint: leave out one of the two"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _answers_within_the_longest(self) -> ModelEntry:
        workload, longest = self.workload, self.longest_output_tokens
        stated = {"outputTokens": workload.output_tokens, "outputTokensP95": workload.output_tokens_p95 or 0}
        for key, tokens in stated.items():
            if longest is not None and tokens > longest:
                msg = (
                    f"longestOutputTokens is {longest}, but workload.{key} is {tokens}; "
                    "hint: raise the longest or lower the other"
                )
                raise ValueError(msg)
        return self


class Quota(Stated):
    """One service quota of the account in the stack's region."""

    code: str = Field(pattern=r"^L-[0-9A-F]{8}$", description="its code in Service Quotas")
    vcpus: int = Field(ge=0, le=10_000_000, description="vCPUs that it allows")


class Capacity(Stated):
    """Which machines may be bought and where."""

    spot_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of the nodes above the floor that may be spot, rounded up; they are bought before those on"
        " demand",
    )
    interrupted_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="most of the answers in flight that a reclaim of a spot node may cut, because they last longer than"
        " its notice; a plan with spot above it is refused; default: a warning above 0.01",
    )
    zones: int = Field(2, ge=1, le=6, description="number of availability zones that the GPU nodes use")
    gpus: tuple[str, ...] | None = Field(
        None, strict=False, description="GPU types allowed; default: all of the region"
    )
    share_pools: bool = Field(
        True,
        description="several models may share nodes where that is cheaper, those with a lossTolerance never; false "
        "gives each model nodes of its own: a lost node or a spot reclaim then takes replicas of one model only, and "
        "none is slowed by another's use of CPU, disk and network",
    )
    quotas: tuple[Quota, ...] = Field(
        (), strict=False, max_length=32, description="vCPU quotas that bound the fleet; what is left out bounds nothing"
    )

    @field_validator("quotas")
    @classmethod
    def _one_each(cls, value: tuple[Quota, ...]) -> tuple[Quota, ...]:
        codes = [quota.code for quota in value]
        repeated = sorted({code for code in codes if codes.count(code) > 1})
        if repeated:
            msg = f"quota {repeated[0]} is stated twice"
            raise ValueError(msg)
        return value

    @field_validator("gpus")
    @classmethod
    def _not_empty(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and not value:
            msg = "an empty list allows no GPU; leave the key out to allow all"
            raise ValueError(msg)
        return value


class Budget(Stated):
    """Monthly limit and what happens when the forecast passes it."""

    monthly_usd: float = Field(
        gt=0, le=1_000_000_000, description="most that a month may cost; a stack whose ceiling is above it is refused"
    )
    on_exceed: Literal["notify", "freeze"] = Field(
        "notify",
        description="when the month's limit is reached: notify sends mail, freeze also denies Karpenter new machines",
    )
    notify: tuple[str, ...] = Field((), strict=False, description="e-mail addresses of the alarms")

    @field_validator("notify")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            local, _, domain = address.partition("@")
            if not local or "." not in domain or "@" in domain or " " in address:
                msg = f"{address!r} is not an e-mail address"
                raise ValueError(msg)
        return value


class VectorStore(Stated):
    """Vector store beside the models, sized from vectors x dimensions."""

    vectors: int = Field(ge=1, le=10_000_000_000, description="vectors that are stored")
    dimensions: int = Field(ge=1, le=65_536, description="numbers in each vector")
    replicas: int = Field(3, ge=1, le=99, description="pods of the store, on the system nodes")
    on_disk: bool = Field(False, description="keep vectors in memory-mapped files instead of RAM")
    disk_gib: int | None = Field(
        None, ge=1, le=65_536, description="disk of each replica in GiB, at least the planned one; volumes never shrink"
    )
