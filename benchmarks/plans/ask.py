"""The six workloads as they are put to the peers, and the peers' answers.

Answers of packaged peers are kept next to their environments until the question, the version or the file of the peer
changes: asking AIConfigurator anew takes ten minutes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.memory.peers.environments import NotRun, folder, talk
from benchmarks.memory.rows import configurations
from benchmarks.plans.peers.question import Answer, Checkpoint, Machine, Peer, Question, answer, answer_of
from benchmarks.plans.workloads import MOE_FP8, REGION, PlanCase, plan_catalogue

ASK_S = 3600
"""Longest run of one peer over all workloads."""


def question_for(case: PlanCase) -> Question:
    """Return the workload as a peer sees it: every checkpoint that may serve it, every GPU instance of the region."""
    entry = case.entry
    return Question(
        name=case.name,
        model=entry.model,
        requests_per_s=entry.workload.requests_per_second,
        input_tokens=entry.workload.input_tokens,
        output_tokens=entry.workload.output_tokens,
        ttft_ms=entry.objectives.ttft_p95_ms,
        tpot_ms=entry.objectives.tpot_p95_ms,
        checkpoints=[_checkpoint(name) for name in (entry.model, *entry.allowed_variants)],
        machines=_machines(),
    )


def _checkpoint(name: str) -> Checkpoint:
    model = plan_catalogue().model(name)
    return Checkpoint(
        name=name,
        config=_config(name),
        parameters=model.parameters,
        bytes=model.checkpoint_size(),
        weight_bits=model.quantisation.bits,
    )


def _config(name: str) -> Mapping[str, Any]:
    if name == MOE_FP8:
        found: Mapping[str, Any] = configurations()[name]["config"]
        return found
    config: Mapping[str, Any] = plan_catalogue().model_document(name)["config"]
    return config


def _machines() -> list[Machine]:
    catalogue = plan_catalogue()
    return [
        Machine(
            instance_type=instance.instance_type,
            gpu=gpu.name,
            gpus=instance.gpus,
            total_gib=gpu.total_gib,
            usd_per_hour=instance.on_demand_usd_per_hour[REGION],
        )
        for gpu in sorted(catalogue.gpus, key=lambda one: one.name)
        for instance in catalogue.instances(gpu.name, REGION)
    ]


def ask(name: str, peer: Peer, questions: Sequence[Question], *, offline: bool) -> list[Answer]:
    """Return the peer's answers in the order of the questions; NotRun with the reason where it cannot run."""
    if not peer.PACKAGES:
        return [answer(peer, question) for question in questions]
    kept = _Kept(name, peer)
    missing = [question for question in questions if kept.get(question) is None]
    if missing:
        lines = "".join(json.dumps(asdict(question)) + "\n" for question in missing)
        said = talk(("benchmarks.plans.peers", name), peer, lines, offline=offline, limit_s=ASK_S)
        if len(said) != len(missing):
            raise NotRun(f"answered {len(said)} of {len(missing)} questions")
        kept.add(zip(missing, said, strict=True))
    return [answer_of(json.loads(str(kept.get(question)))) for question in questions]


class _Kept:
    """Lines that a peer answered, by a hash of the question, in a file named by a hash of the peer."""

    def __init__(self, name: str, peer: Peer) -> None:
        asked_by = Path(__file__).parent / "peers" / f"{name}.py"
        self.file = folder() / "plan-answers" / f"{name}-{peer.VERSION}-{_hash(asked_by.read_text('utf-8'))}.json"
        self.lines: dict[str, str] = json.loads(self.file.read_text("utf-8")) if self.file.exists() else {}

    def get(self, question: Question) -> str | None:
        """Return the line that answered ``question``."""
        return self.lines.get(_hash(json.dumps(asdict(question))))

    def add(self, answered: Iterable[tuple[Question, str]]) -> None:
        """Keep more lines."""
        self.lines |= {_hash(json.dumps(asdict(question))): line for question, line in answered}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(self.lines, indent=1), encoding="utf-8")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
