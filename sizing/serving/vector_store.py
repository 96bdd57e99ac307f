"""Size of the vector store (Qdrant): RAM = vectors x dimensions x 4 B x 1.5, spread over the replicas.

Every shard is kept ``replication`` times, so each of R nodes holds replication / R of the whole.
"""

from __future__ import annotations

import math

from sizing.catalogue.files import serving_facts, serving_source
from sizing.errors import BadInput
from sizing.inputs import VectorStore
from sizing.plan import Figure, VectorStorePlan
from sizing.units import GIB

LARGEST_NODE_GIB = 4096.0
"""Memory of the largest node that one replica may ask for."""


def plan_vector_store(store: VectorStore) -> VectorStorePlan:
    """Return the size of one replica; BadInput when one replica would need more than a machine has."""
    facts = serving_facts("vector_store")
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
    disk_gib = max(math.ceil(raw_gib * facts["disk_factor"] * share / 10) * 10, facts["disk_min_gib"])
    shards = max(1, math.ceil(store.replicas / 6)) * 12 if store.replicas >= 3 else store.replicas
    return VectorStorePlan(
        replicas=store.replicas,
        memory_gib=memory,
        cpu=min(cpu, 64.0),
        disk_gib=disk_gib,
        shards=shards,
        figures=(_figure(store, memory, copies, resident),),
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
