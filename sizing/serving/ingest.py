"""The job that copies the weights of a revision into the model store: when it is given up, what disk it needs."""

from __future__ import annotations

import math

from sizing.catalogue.files import serving_facts
from sizing.plan.operation import Ingest
from sizing.units import GIB


def ingest(weights_bytes: int) -> Ingest:
    """Return deadlines and scratch space of the copy of ``weights_bytes``."""
    deadline = deadline_s(weights_bytes)
    copy = deadline - serving_facts("ingest")["last_word_s"]
    return Ingest(deadline_s=deadline, copy_deadline_s=copy, scratch_gib=scratch_gib(weights_bytes))


def deadline_s(weights_bytes: int) -> int:
    """Return the seconds after which a copy is given up: weights at the slowest acceptable rate, at least an hour."""
    facts = serving_facts("ingest")
    return int(max(facts["deadline_min_s"], math.ceil(weights_bytes / facts["slowest_bytes_per_s"])))


def scratch_gib(weights_bytes: int) -> int:
    """Return the GiB of scratch space: a share of the weights within bounds, so that it fits a system node."""
    facts = serving_facts("ingest")
    wanted = math.ceil(weights_bytes / GIB * facts["scratch_share"])
    return int(min(facts["scratch_max_gib"], max(facts["scratch_min_gib"], wanted)))
