"""The replay of vLLM's scheduler: what is prefilled twice where the cache does not hold all that is in flight."""

from __future__ import annotations

import pytest

from benchmarks.throughput.preemption import recomputed
from sizing.performance.replica import RECOMPUTED

LOAD = {"prompt": 320, "answer": 320, "cache_tokens": 12_800, "requests": 120}


@pytest.mark.parametrize("keeps", [True, False])
def test_nothing_is_prefilled_twice_while_the_cache_holds_all(keeps: bool) -> None:
    assert recomputed(**LOAD, concurrency=20, keeps=keeps) == 0


@pytest.mark.parametrize("varied", [True, False])
def test_beyond_it_requests_prefill_again_what_the_planner_takes(varied: bool) -> None:
    found = recomputed(**LOAD, concurrency=60, keeps=True, varied=varied)
    assert found == pytest.approx(RECOMPUTED, abs=0.25)
    assert found < recomputed(**LOAD, concurrency=60, keeps=False, varied=varied) < 1.1
