"""The disk of the vector store: planned, stated, and never smaller than its volumes."""

import pytest

from sizing.errors import BadInput
from sizing.inputs import VectorStore
from sizing.serving.vector_store import check_disk_is_kept, plan_vector_store, snapshot_memory_gib


def disk_gib(vectors=5_000_000, replicas=3, **stated):
    return plan_vector_store(VectorStore(vectors=vectors, dimensions=1024, replicas=replicas, **stated)).disk_gib


def test_a_stated_disk_is_taken_where_it_holds_the_vectors():
    assert (disk_gib(), disk_gib(disk_gib=120)) == (40, 120)


def test_a_disk_too_small_for_the_vectors_is_refused():
    with pytest.raises(BadInput, match="30 GiB do not hold 5000000 vectors; limit: at least 40 GiB per replica"):
        disk_gib(disk_gib=30)


def test_more_replicas_need_less_disk_each_which_their_volumes_cannot_become():
    assert disk_gib(vectors=50_000_000, replicas=6) < disk_gib(vectors=50_000_000)
    check_disk_is_kept(200, 200)
    with pytest.raises(BadInput, match="200 GiB, the size of its volumes, which cannot shrink; hint: state diskGib"):
        check_disk_is_kept(190, 200.0)


def test_the_job_that_uploads_has_memory_for_parts_as_large_as_a_disk_in_10000_parts_makes_them():
    assert [snapshot_memory_gib(disk) for disk in (100, 640, 2000, 16_000)] == [0.5, 0.75, 1.75, 13.0]
