"""What a user states: models, workload, objectives, capacity, budget.

Frozen pydantic models; keys in stack files are camelCase, unknown keys are refused. They carry no Pulumi
value, so that ``tonnage plan`` and the stack settings share one definition. Units are in the names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, field_validator, model_validator
from pydantic.alias_generators import to_camel

from sizing.lengths import LARGEST_RATIO
from sizing.plan import LossTolerance

KUBERNETES_NAME = r"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$"
"""RFC 1123 label, kept to 40 characters so that derived names stay under the limit of 63."""


class Stated(BaseModel):
    """Base of everything that a user writes: frozen, strict, camelCase keys, unknown keys refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, strict=True, allow_inf_nan=False
    )


PositiveTokens = Annotated[int, Field(ge=1, le=10_000_000)]
HOURS_PER_DAY = 24
BURSTINESS_LIMITS = (0.05, 20.0)
DayShare = Annotated[float, Field(ge=0, le=1)]
LEAST_REQUESTS_PER_S = 1e-6
"""A request in twelve days: what is rarer has no cost per token."""
QUIETEST_SHARE = 0.2
"""``minimumShare`` where nothing is stated of the day."""


def _quietest_share(stated: dict[str, Any]) -> float:
    shape = stated.get("daily_shape")
    return min(shape) if shape else QUIETEST_SHARE


class TraceFigures(Stated):
    """Where figures of a workload came from: a trace that was read beside the stack file."""

    file: str = Field(description="name as stated")
    requests: int
    hours: float
    keys: tuple[str, ...] = Field(strict=False, description="keys of the workload that the trace told")

    @property
    def sentence(self) -> str:
        """What was read and what it told."""
        told = ", ".join(self.keys) or "nothing: all is stated"
        return f"{self.file}: {self.requests} requests in {self.hours:g} h told {told}"


def _trace_for_figures(schema: dict[str, Any]) -> None:
    """Say in the JSON schema that a trace stands for the figures that a workload must have."""
    schema["anyOf"] = [{"required": schema.pop("required")}, {"required": ["trace"]}]


class Workload(Stated):
    """Traffic of one model at its busiest steady hour."""

    model_config = ConfigDict(json_schema_extra=_trace_for_figures)

    trace: Annotated[TraceFigures, WithJsonSchema({"type": "string"})] | None = Field(
        None,
        description="file of requests, relative to the stack file, that tells every figure not stated beside it: CSV"
        " with TIMESTAMP,ContextTokens,GeneratedTokens or arrival_s,input_tokens,output_tokens, or JSON lines with"
        " timestamp (ms), input_length, output_length",
    )
    requests_per_second: float = Field(
        ge=LEAST_REQUESTS_PER_S, le=100_000, description="mean arrival rate at the peak hour"
    )
    input_tokens: PositiveTokens = Field(description="mean prompt tokens of a request")
    output_tokens: PositiveTokens = Field(description="mean generated tokens of a request")
    peak_factor: float = Field(1.5, ge=1, le=100, description="ceiling of traffic over requestsPerSecond")
    daily_shape: tuple[DayShare, ...] | None = Field(
        None,
        strict=False,
        description="24 shares of requestsPerSecond by hour UTC, the largest 1: the expected cost is the mean of the"
        " hours; without it every hour is taken as the busiest",
    )
    minimum_share: float = Field(
        default_factory=_quietest_share,
        ge=0,
        le=1,
        description="quietest hour as a share of requestsPerSecond; with dailyShape that of its quietest hour",
        json_schema_extra={"default": QUIETEST_SHARE},
    )
    prefix_share: float = Field(0.0, ge=0, lt=1, description="share of prompt tokens found in the cache")
    batch_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of requests without objectives that may wait: they come evenly over the day, and count"
        " like the others on the replicas that they share; peakFactor and minimumShare are of the others",
    )
    burstiness: float = Field(
        1.0,
        ge=BURSTINESS_LIMITS[0],
        le=BURSTINESS_LIMITS[1],
        description="shape of the gamma distribution of the times between arrivals at the gateway, as `vllm bench"
        " serve --burstiness` takes it: 1 is Poisson, below burstier; each of several replicas sees fewer of a burst",
    )
    input_tokens_p95: PositiveTokens | None = Field(
        None, description="95th percentile of prompt tokens, lognormal around their mean; exponential without it"
    )
    output_tokens_p95: PositiveTokens | None = Field(
        None, description="95th percentile of generated tokens, lognormal around their mean; exponential without it"
    )

    @field_validator("daily_shape")
    @classmethod
    def _whole_day(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and len(value) != HOURS_PER_DAY:
            msg = f"{len(value)} numbers are no day; write {HOURS_PER_DAY}, one for each hour UTC from 0"
            raise ValueError(msg)
        if value is not None and max(value) != 1:
            msg = f"the largest is {max(value):g}, not 1; divide all by it, requestsPerSecond is the busiest hour"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _one_quietest_hour(self) -> Workload:
        if self.daily_shape is not None and "minimum_share" in self.model_fields_set:
            msg = "minimumShare and dailyShape are both stated; leave minimumShare out, the quietest hour is its figure"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _tails_of_lognormal_lengths(self) -> Workload:
        tails = (("inputTokens", self.input_tokens, self.input_tokens_p95),
                 ("outputTokens", self.output_tokens, self.output_tokens_p95))  # fmt: skip
        for key, mean, p95 in tails:
            if p95 is not None and not mean <= p95 <= mean * LARGEST_RATIO:
                msg = f"{key}P95 {p95} must lie between {key} {mean} and {LARGEST_RATIO:.2f} times it"
                raise ValueError(f"{msg}; no lognormal length has a 95th percentile beyond")
        return self

    @property
    def hourly_shares(self) -> tuple[float, ...]:
        """Traffic of each hour over that of the busiest; a single 1 where the day is not stated."""
        return self.daily_shape or (1.0,)

    def restated(self, values: Mapping[str, Any]) -> Workload:
        """Return the workload with other figures, checked as if they had been stated; ValueError where they cannot."""
        kept = self.model_dump(exclude_unset=True)
        if self.trace is not None:
            changed = {to_camel(key) for key in values}
            kept["trace"]["keys"] = tuple(key for key in self.trace.keys if key not in changed)
        for key in ("input_tokens", "output_tokens"):  # a tail stands as long as its mean, and moves with it
            if kept.get(f"{key}_p95") and key in values:
                kept[f"{key}_p95"] = round(kept[f"{key}_p95"] * values[key] / kept[key])
        return Workload.model_validate({**kept, **values})

    @property
    def prompt_requests_per_second(self) -> float:
        """Mean arrival rate at the busiest hour of the requests that the objectives are for."""
        return self.requests_per_second * (1 - self.batch_share)

    @property
    def batch_requests_per_second(self) -> float:
        """Rate of the requests that may wait, the same all day."""
        return self.mean_requests_per_second * self.batch_share

    @property
    def arrivals_per_second(self) -> float:
        """Rate of all requests at the busiest hour."""
        return self.prompt_requests_per_second + self.batch_requests_per_second

    def at(self, share: float) -> Workload:
        """Return the workload with this share of the busiest hour's arrivals."""
        return self.model_copy(update={"requests_per_second": self.requests_per_second * share})

    @property
    def mean_requests_per_second(self) -> float:
        """Mean arrival rate over the day, that of the busiest hour where the day is not stated."""
        return self.requests_per_second * sum(self.hourly_shares) / len(self.hourly_shares)


class Objectives(Stated):
    """Latency that the service promises, at the 95th percentile."""

    ttft_p95_ms: float = Field(2000, gt=0, le=600_000, description="time to first token")
    tpot_p95_ms: float = Field(80, gt=0, le=60_000, description="time per output token after the first")


class EngineOverrides(Stated):
    """Engine settings that the user fixes; what is absent is derived and explained."""

    gpu: str | None = None
    tensor_parallel: int | None = Field(None, ge=1, le=64)
    pipeline_parallel: int | None = Field(None, ge=1, le=64)
    max_model_len: int | None = Field(None, ge=16, le=10_000_000)
    max_num_seqs: int | None = Field(None, ge=1, le=8192)
    max_num_batched_tokens: int | None = Field(None, ge=16, le=1_000_000)
    gpu_memory_utilization: float | None = Field(None, gt=0, le=1)
    kv_cache_dtype: Literal["auto", "fp8"] | None = None
    enforce_eager: bool | None = None
    vllm_version: str | None = None
    block_size: int | None = Field(None, ge=1, le=1024)
    enable_prefix_caching: bool | None = None
    enable_expert_parallel: bool | None = None
    data_parallel: int | None = Field(None, ge=1, le=64)
    decode_context_parallel: int | None = Field(None, ge=1, le=64)
    max_loras: int | None = Field(None, ge=0, le=1024)
    max_lora_rank: int | None = Field(None, ge=1, le=512)
    speculative_method: Literal["ngram", "mtp", "eagle", "eagle3", "medusa", "draft"] | None = None
    num_speculative_tokens: int | None = Field(None, ge=0, le=64)
    speculative_acceptance: float | None = Field(
        None, ge=0, le=1, description="share of drafted tokens that are accepted, as vLLM's metrics count them"
    )
    limit_mm_per_prompt: int | None = Field(None, ge=0, le=999)


class ReplicaBounds(Stated):
    """Bounds on replicas that the user fixes; what is absent is derived from the traffic."""

    floor: int | None = Field(None, ge=0, le=1000)
    ceiling: int | None = Field(None, ge=1, le=1000)

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
    model: str = Field(min_length=1, max_length=200, description="catalogue name of the model")
    revision: str | None = Field(
        None, min_length=1, max_length=64, description="revision at the hub; default: catalogue"
    )
    workload: Workload
    objectives: Objectives = Objectives()
    scale_to_zero: bool = Field(False, description="no replica while there is no traffic; the first caller waits")
    replicas: ReplicaBounds = ReplicaBounds()
    loss_tolerance: LossTolerance = Field(
        "none",
        description="what may be lost while the traffic is still carried within the objectives: none (no spare: "
        "latencies may suffer until it is replaced), replica (a node with its replicas), zone (all nodes of one); with "
        "either the model shares no nodes with others",
    )
    engine: EngineOverrides = EngineOverrides()
    allowed_variants: tuple[CheckpointName, ...] = Field(
        (),
        strict=False,
        max_length=16,
        description="other checkpoints of the same model, such as FP8 or AWQ, that may serve it",
    )
    allow_fp8_kv_cache: bool = Field(False, description="the KV cache may be kept in FP8 where the card computes in it")


class Quota(Stated):
    """One service quota of the account in the stack's region."""

    code: str = Field(pattern=r"^L-[0-9A-F]{8}$", description="code in Service Quotas, for example L-DB2E81BA")
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
    zones: int = Field(2, ge=1, le=6, description="availability zones used")
    gpus: tuple[str, ...] | None = Field(
        None, strict=False, description="GPU types allowed; default: all of the region"
    )
    share_pools: bool = Field(
        True,
        description="several models may share nodes where that is cheaper, those with a lossTolerance never; false "
        "keeps each on its own: a lost node or a spot reclaim takes replicas of one model only, and none is slowed by "
        "another's use of CPU, disk and network",
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

    monthly_usd: float = Field(gt=0, le=1_000_000_000)
    on_exceed: Literal["notify", "freeze"] = Field("notify", description="freeze denies new GPU instances by policy")
    notify: tuple[str, ...] = Field((), strict=False, description="e-mail addresses of the alarms")

    @field_validator("notify")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            local, _, domain = address.partition("@")
            if not local or "." not in domain or " " in address:
                msg = f"{address!r} is not an e-mail address"
                raise ValueError(msg)
        return value


class VectorStore(Stated):
    """Vector store beside the models, sized from vectors x dimensions."""

    vectors: int = Field(ge=1, le=10_000_000_000)
    dimensions: int = Field(ge=1, le=65_536)
    replicas: int = Field(3, ge=1, le=99)
    on_disk: bool = Field(False, description="keep vectors in memory-mapped files instead of RAM")
