"""Projects whose documented examples are the pick: recorded in ``data/plan_picks.json`` with file, commit and date.

An example names the engine that it starts, often the card, seldom the traffic; where it names no card, every card of
the region that it could mean is tried.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from benchmarks.folders import DATA
from benchmarks.peers import Refused
from benchmarks.plans.peers.question import Pick, Question

PICKS = DATA / "plan_picks.json"


@dataclass(frozen=True)
class Documented:
    """One project and its examples."""

    NAME: str
    VERSION: str
    LICENCE: str
    SOURCE: str
    FED: str
    examples: Sequence[Mapping[str, Any]]
    PACKAGES: tuple[str, ...] = ()

    def picks(self, question: Question) -> list[Pick]:
        """Return the examples for the model of the question, on every card that each allows."""
        found = [
            Pick(
                checkpoint=example["checkpoint"],
                gpu=gpu,
                tensor_parallel=example["tensor_parallel"],
                pipeline_parallel=example.get("pipeline_parallel", 1),
                instance_type=example.get("instance_type", ""),
                settings=example.get("settings", {}),
            )
            for example in self.examples
            if example["model"] == question.model
            for gpu in example["gpus"] or sorted({machine.gpu for machine in question.machines})
        ]
        if not found:
            raise Refused("no example for a model of this kind")
        return found


@lru_cache(maxsize=1)
def projects() -> Mapping[str, Documented]:
    """Return the recorded projects by their short names."""
    document = json.loads(PICKS.read_text(encoding="utf-8"))
    return {
        name: Documented(
            NAME=project["name"],
            VERSION=project["date"],
            LICENCE=project["licence"],
            SOURCE=project["repository"],
            FED="; ".join(dict.fromkeys(f"`{example['path']}`" for example in project["examples"])),
            examples=project["examples"],
        )
        for name, project in sorted(document["projects"].items())
    }
