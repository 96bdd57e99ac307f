"""Six workloads that every planner is asked about.

Lengths and objectives of chat are those of our shortest example of a model entry; the others are round figures of their
kind, stated by us. Everybody may serve the FP8 checkpoint of the model instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from benchmarks.memory.rows import configurations
from sizing.catalogue import Catalogue, load_catalogue
from sizing.inputs import Capacity, ModelEntry
from sizing.models.from_config import model_from_config
from sizing.workload.workload import Objectives, Workload

REGION = "us-east-1"
CAPACITY = Capacity(spot_share=0.0, zones=1)
"""Everybody buys on demand in one zone, which rules out no machine of the region."""
MOE_FP8 = "Qwen/Qwen3-Coder-30B-A3B-Instruct-FP8"
"""FP8 checkpoint of the shape of Qwen3-30B-A3B, as ``data/configs`` describes it."""
EIGHT = ("meta-llama/Llama-3.1-8B-Instruct", "RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8")


@dataclass(frozen=True, kw_only=True)
class PlanCase:
    """One workload: what is served, for what traffic, at what latency."""

    title: str
    about: str
    """The workload in one sentence."""
    entry: ModelEntry

    @property
    def name(self) -> str:
        """Return the name of the served model, which is that of the workload."""
        return self.entry.name

    @property
    def million_tokens_per_hour(self) -> float:
        """Millions of output tokens in one hour of this traffic."""
        return self.entry.workload.requests_per_second * self.entry.workload.output_tokens * 3600 / 1e6


def _case(
    name: str,
    title: str,
    about: str,
    models: tuple[str, ...],
    *,
    traffic: tuple[float, int, int],
    latency: tuple[float, float],
) -> PlanCase:
    """Return a case: traffic is requests per second, tokens in and out; latency is TTFT and TPOT p95 in ms."""
    rate, tokens_in, tokens_out = traffic
    workload = Workload(requests_per_second=rate, input_tokens=tokens_in, output_tokens=tokens_out)
    objectives = Objectives(ttft_p95_ms=latency[0], tpot_p95_ms=latency[1])
    entry = ModelEntry(
        name=name, model=models[0], workload=workload, objectives=objectives, allowed_variants=models[1:]
    )
    return PlanCase(title=title, about=about, entry=entry)


CASES = (
    _case(
        "chat-8b-small",
        "Chat, 8B, one request per second",
        "An internal assistant: few users at a time, who read as it writes.",
        EIGHT,
        traffic=(1.0, 900, 250),
        latency=(1500.0, 60.0),
    ),
    _case(
        "chat-8b-50",
        "Chat, 8B, fifty requests per second",
        "The same assistant as a public product at its busiest hour.",
        EIGHT,
        traffic=(50.0, 900, 250),
        latency=(1500.0, 60.0),
    ),
    _case(
        "rag-32b",
        "Answers from documents, 32B",
        "Retrieval puts a dozen passages before each question, so prompts are twenty times the answers.",
        ("Qwen/Qwen3-32B", "Qwen/Qwen3-32B-FP8"),
        traffic=(2.0, 6000, 300),
        latency=(5000.0, 80.0),
    ),
    _case(
        "code-70b",
        "Code, 70B, tight time per token",
        "Completions in an editor and agents in loops: every token is waited for, at 33 tokens per second or more.",
        ("meta-llama/Llama-3.3-70B-Instruct", "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic"),
        traffic=(2.0, 2000, 400),
        latency=(2500.0, 30.0),
    ),
    _case(
        "batch-8b",
        "Batch, 8B",
        "Summaries and labels made overnight: only the total matters, an answer may wait a minute for its turn.",
        EIGHT,
        traffic=(30.0, 1000, 300),
        latency=(60_000.0, 250.0),
    ),
    _case(
        "moe-30b-a3b",
        "Mixture of experts, 30B with 3B active",
        "A general assistant with tools on a model of many small experts.",
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", MOE_FP8),
        traffic=(10.0, 1500, 400),
        latency=(2000.0, 50.0),
    ),
)


@lru_cache(maxsize=1)
def plan_catalogue() -> Catalogue:
    """Return the catalogue with the one checkpoint of the cases that it lacks."""
    return load_catalogue().with_model(model_from_config(configurations()[MOE_FP8]["config"], name=MOE_FP8))
