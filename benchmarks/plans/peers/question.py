"""What is asked of every planner, and what it may answer. Sizes are GiB (2**30 bytes) per GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from benchmarks.peers import reason_of


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights that may be served."""

    name: str
    config: Mapping[str, Any]
    parameters: int
    bytes: int
    weight_bits: int


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One instance type of the region."""

    instance_type: str
    gpu: str
    gpus: int
    total_gib: float
    usd_per_hour: float


@dataclass(frozen=True, kw_only=True)
class Question:
    """One workload as a user would describe it: mean lengths, objectives at the 95th percentile."""

    name: str
    model: str
    requests_per_s: float
    input_tokens: int
    output_tokens: int
    ttft_ms: float
    tpot_ms: float
    checkpoints: Sequence[Checkpoint]
    machines: Sequence[Machine]


@dataclass(frozen=True, kw_only=True)
class Pick:
    """One engine that a planner would serve it with."""

    checkpoint: str
    gpu: str
    tensor_parallel: int
    pipeline_parallel: int = 1
    instance_type: str = ""
    """Where the planner names none, the cheapest that holds the engine is bought."""
    replicas: int | None = None
    """None where the planner has no figure for them."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the engine that it states, by their names in ``EngineOverrides``."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """All that a planner says to one question: picks on several cards or checkpoints, or why there are none."""

    picks: Sequence[Pick] = ()
    refused: str = ""


class Peer(Protocol):
    """A planner: a module of this folder, or a project whose documented examples are recorded."""

    NAME: str
    VERSION: str
    LICENCE: str
    SOURCE: str
    FED: str
    PACKAGES: tuple[str, ...]

    def picks(self, question: Question) -> list[Pick]:
        """Return what it would serve the workload with; Refused where it cannot say."""


def question_of(document: Mapping[str, Any]) -> Question:
    """Return the question that a line of JSON holds."""
    checkpoints = [Checkpoint(**one) for one in document["checkpoints"]]
    machines = [Machine(**one) for one in document["machines"]]
    return Question(**{**document, "checkpoints": checkpoints, "machines": machines})


def answer_of(document: Mapping[str, Any]) -> Answer:
    """Return the answer that a line of JSON holds."""
    return Answer(picks=[Pick(**one) for one in document["picks"]], refused=document["refused"])


def answer(peer: Peer, question: Question) -> Answer:
    """Return the peer's picks; what it raises becomes the reason of a refusal."""
    try:
        return Answer(picks=peer.picks(question))
    except Exception as error:
        return Answer(refused=reason_of(error))
