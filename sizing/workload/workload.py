"""Traffic of one model and the latencies that it is promised, as a stack file or the command states them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field, WithJsonSchema, field_validator, model_validator
from pydantic.alias_generators import to_camel

from sizing.stated import Stated
from sizing.units import HOURS_PER_DAY
from sizing.workload.lengths import LARGEST_RATIO

PositiveTokens = Annotated[int, Field(ge=1, le=10_000_000)]


BURSTINESS_LIMITS = (0.05, 20.0)


DayShare = Annotated[float, Field(ge=0, le=1)]


LEAST_REQUESTS_PER_S = 1e-6
"""A request in twelve days: the cost per token of rarer ones has no meaning."""
QUIETEST_SHARE = 0.2
"""``minimumShare`` where neither it nor ``dailyShape`` is stated."""


def _quietest_share(stated: dict[str, Any]) -> float:
    shape = stated.get("daily_shape")
    return min(shape) if shape else QUIETEST_SHARE


class TraceFigures(Stated):
    """Figures of a workload that came from a trace."""

    file: str = Field(description="name as stated")
    requests: int
    hours: float
    keys: tuple[str, ...] = Field(strict=False, description="keys of the workload that the trace told")

    @property
    def sentence(self) -> str:
        """What was read and which keys it gave."""
        given = ", ".join(self.keys) or "nothing: all is stated"
        return f"{self.file}: {self.requests} requests in {self.hours:g} h told {given}"


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
        ge=LEAST_REQUESTS_PER_S, le=100_000, description="mean arrival rate at the busiest hour"
    )
    input_tokens: PositiveTokens = Field(description="mean prompt tokens of a request")
    output_tokens: PositiveTokens = Field(description="mean generated tokens of a request")
    peak_factor: float = Field(
        1.5, ge=1, le=100, description="most traffic that is served, as a multiple of requestsPerSecond"
    )
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
        " like the others on the replicas that they share; peakFactor and minimumShare refer to the others",
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
        """Traffic of each hour over that of the busiest; a single 1 without ``dailyShape``."""
        return self.daily_shape or (1.0,)

    def restated(self, values: Mapping[str, Any]) -> Workload:
        """Return the workload with other figures, checked like stated ones; ValueError where they are invalid."""
        kept = self.model_dump(exclude_unset=True)
        if self.trace is not None:
            changed = {to_camel(key) for key in values}
            kept["trace"]["keys"] = tuple(key for key in self.trace.keys if key not in changed)
        for key in ("input_tokens", "output_tokens"):  # a 95th percentile is scaled with its mean
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
        """Mean arrival rate over the day; that of the busiest hour without ``dailyShape``."""
        return self.requests_per_second * sum(self.hourly_shares) / len(self.hourly_shares)


class Objectives(Stated):
    """Latency that the service promises, at the 95th percentile."""

    ttft_p95_ms: float = Field(2000, gt=0, le=600_000, description="time to first token, in milliseconds")
    tpot_p95_ms: float = Field(
        80, gt=0, le=60_000, description="time per output token after the first, in milliseconds"
    )
