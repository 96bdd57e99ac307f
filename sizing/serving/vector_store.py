"""Size of the vector store (Qdrant): RAM = vectors x dimensions x 4 B x 1.5, spread over the replicas.

Every shard is kept ``replication`` times, so each of R nodes holds replication / R of the whole.
"""

from __future__ import annotations

import math

from sizing.catalogue.files import serving_facts, serving_source
from sizing.errors import BadInput
from sizing.inputs import VectorStore
from sizing.plan import Figure, VectorStorePlan
from sizing.plan.operation import Probe, Probes
from sizing.units import GIB

LARGEST_NODE_GIB = 4096.0
"""Memory of the largest node that one replica may ask for."""


def plan_vector_store(store: VectorStore) -> VectorStorePlan:
    """Return the size of one replica; BadInput when one replica would need more than a machine has."""
    facts, operation = serving_facts("vector_store"), serving_facts("vector_store_operation")
    copies = min(facts["replication"], store.replicas)
    raw_gib = store.vectors * store.dimensions * facts["bytes_per_dimension"] / GIB
    share = copies / store.replicas
    resident = facts["on_disk_memory_share"] if store.on_disk else 1.0
    needed = raw_gib * facts["memory_factor"] * resident * share
    memory = max(math.ceil(needed * 4) / 4, facts["memory_min_gib"])
    if memory > LARGEST_NODE_GIB:
        raise BadInput(
            "vectorStore",
            f"{store.vectors} vectors need {memory:.0f} GiB per replica",
            limit=f"{LARGEST_NODE_GIB:.0f} GiB",
            way_out="more replicas, fewer dimensions or onDisk: true",
        )
    cpu = max(math.ceil(memory * facts["cpu_per_memory_gib"] * 2) / 2, facts["cpu_min"])
    disk_gib = _disk_gib(store, raw_gib * share)
    shards = max(1, math.ceil(store.replicas / 6)) * 12 if store.replicas >= 3 else store.replicas
    return VectorStorePlan(
        replicas=store.replicas,
        memory_gib=memory,
        cpu=min(cpu, 64.0),
        disk_gib=disk_gib,
        shards=shards,
        copies=copies,
        probes=vector_store_probes(),
        grace_period_s=operation["grace_period_s"],
        snapshot_deadline_s=operation["snapshot_deadline_s"],
        snapshot_memory_gib=snapshot_memory_gib(disk_gib),
        snapshot_days=facts["snapshot_days"],
        snapshot_version_days=facts["snapshot_version_days"],
        figures=(_figure(store, memory, copies, resident), *_operation_figures(store, copies, disk_gib)),
    )


def _disk_gib(store: VectorStore, raw_gib: float) -> int:
    """Return the disk of a replica that holds ``raw_gib`` of vectors: what is stated, at least what is needed."""
    facts = serving_facts("vector_store")
    needed = max(math.ceil(raw_gib * facts["disk_factor"] / 10) * 10, facts["disk_min_gib"])
    stated = store.disk_gib or needed
    if stated < needed:
        raise BadInput(
            "vectorStore.diskGib",
            f"{stated} GiB do not hold {store.vectors} vectors",
            limit=f"at least {needed} GiB per replica",
            way_out="leave it out, or fewer vectors",
        )
    return stated


def snapshot_memory_gib(disk_gib: int) -> float:
    """Return the memory of the job that uploads a snapshot as large as the disk, in steps of a quarter GiB.

    An upload has at most 10,000 parts, so that they grow with it; twice the parts in flight are held at least.
    """
    facts = serving_facts("vector_store_operation")
    parts_gib = facts["snapshot_parts_held"] * disk_gib / facts["snapshot_most_parts"]
    return float(max(facts["snapshot_memory_min_gib"], math.ceil(parts_gib * 4) / 4))


def check_disk_is_kept(planned_gib: int, volume_gib: float) -> None:
    """Raise ``BadInput`` when the plan's disk is smaller than the volumes that a deployed store has: none can shrink.

    Both in GiB per replica (Kubernetes documentation, "Persistent Volumes": a claim cannot ask for less than it has).
    """
    if planned_gib < volume_gib:
        raise BadInput(
            "vectorStore",
            f"a disk of {planned_gib} GiB per replica is planned",
            limit=f"{volume_gib:g} GiB, the size of its volumes, which cannot shrink",
            way_out=f"state diskGib: {volume_gib:g}, or restore a snapshot into a new store",
        )


def vector_store_probes() -> Probes:
    """Return the probe budgets; at start all segments are read back from the disk."""
    facts = serving_facts("vector_store_operation")

    def probe(kind: str, count: int) -> Probe:
        return Probe(
            path=facts[f"{kind}_path"],
            period_s=facts[f"{kind}_period_s"],
            timeout_s=facts["probe_timeout_s"],
            failure_threshold=count,
        )

    return Probes(
        startup=probe("startup", math.ceil(facts["start_up_s"] / facts["startup_period_s"])),
        liveness=probe("liveness", facts["liveness_failures"]),
        readiness=probe("readiness", facts["readiness_failures"]),
    )


def _operation_figures(store: VectorStore, copies: int, disk: int) -> tuple[Figure, ...]:
    """Return the figures of how it is operated."""
    memory_gib = snapshot_memory_gib(disk)
    facts, source = serving_facts("vector_store_operation"), serving_source("vector_store_operation")
    kept = serving_facts("vector_store")
    rules: tuple[tuple[str, float, str, str, dict[str, float | str]], ...] = (
        ("copies", copies, "replicas of a shard", "replication, at most the replicas", {"replicas": store.replicas}),
        ("start_up_s", facts["start_up_s"], "s", "segments are read back from the disk before the first answer", {}),
        ("grace_period_s", facts["grace_period_s"], "s", "what is in memory is written when a replica leaves", {}),
        ("snapshot_deadline_s", facts["snapshot_deadline_s"], "s", "a snapshot of all collections is given up", {}),
        (
            "snapshot_memory_gib",
            memory_gib,
            "GiB",
            "twice the 4 parts in flight; 10,000 parts at most",
            {"disk_gib": disk},
        ),
        ("snapshot_days", kept["snapshot_days"], "days", "then S3 removes a snapshot; the bill counts these days", {}),
        ("snapshot_version_days", kept["snapshot_version_days"], "days", "then S3 removes a replaced version", {}),
    )
    return tuple(
        Figure(name=name, value=value, unit=unit, rule=rule, inputs=inputs, source=source)
        for name, value, unit, rule, inputs in rules
    )


def _figure(store: VectorStore, memory: float, copies: int, resident: float) -> Figure:
    return Figure(
        name="vector_store_memory_gib",
        value=memory,
        unit="GiB per replica",
        rule="vectors x dimensions x 4 B x 1.5 x resident share x copies / replicas",
        inputs={
            "vectors": store.vectors,
            "dimensions": store.dimensions,
            "copies": copies,
            "replicas": store.replicas,
            "resident_share": resident,
        },
        source=serving_source("vector_store"),
    )
