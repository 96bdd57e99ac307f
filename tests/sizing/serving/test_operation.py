"""Deadlines, placement and limits that follow from a plan: each rule at an exact input."""

import pytest

from sizing.plan import Replicas
from sizing.plan.operation import Fallback, Ingest
from sizing.serving.autoscaling import fallback
from sizing.serving.gateway import gateway_figures, gateway_plan, requests_per_minute
from sizing.serving.ingest import ingest
from sizing.serving.placement import placement, pool_weights
from sizing.serving.rollout import evictable, unavailable_in_rollout
from tests.support.plans import large_serving_plan, serving_plan


def test_a_cold_start_is_node_and_image_and_the_whole_budget_of_the_start_up_probe():
    found = serving_plan(start_up={"image_pull_s": 120.2}).rollout
    assert (found.cold_start_s, found.protected_s) == (211 + 300, 540)
    assert (found.progress_deadline_s, found.await_s) == (1022 + 90, 1022 + 90)


def test_a_rollout_has_ten_minutes_at_least_to_make_progress():
    fast = serving_plan(start_up={"node_s": 0.0, "image_pull_s": 0.0}, probes={"startup": {"failure_threshold": 10}})
    assert (fast.rollout.progress_deadline_s, fast.rollout.await_s) == (600, 200 + 90)


def test_without_room_for_one_more_a_replica_is_replaced_in_place():
    assert unavailable_in_rollout(Replicas(floor=1, expected=2, ceiling=3), 0) == (1, "replicas")
    assert unavailable_in_rollout(Replicas(floor=1, expected=2, ceiling=3), 1) == (34, "percent")


def test_the_replicas_of_one_node_leave_together():
    assert [evictable(count) for count in (0, 1, 4)] == [1, 1, 4]


@pytest.mark.parametrize(
    ("case", "want"),
    [
        ({"floor": 1}, (1, "ScheduleAnyway")),
        ({"floor": 2}, (1, "ScheduleAnyway")),  # Karpenter buys above the floor
        ({"floor": 9}, (4, "DoNotSchedule")),
        ({"floor": 9, "zones": 1}, (1, "ScheduleAnyway")),
        ({"floor": 9, "shared": True}, (1, "ScheduleAnyway")),
        ({"floor": 0, "tolerance": "zone"}, (2, "DoNotSchedule")),
        ({"floor": 2, "tolerance": "zone", "shared": True}, (2, "DoNotSchedule")),
    ],
)
def test_the_spread_over_zones_is_a_condition_where_all_replicas_always_run_or_a_zone_may_be_lost(case, want):
    stated = {"zones": 3, "pools": 1, "tolerance": "none", "shared": False, **case}
    replicas = Replicas(floor=stated.pop("floor"), expected=4, ceiling=9)
    found = placement(replicas, per_node=2, **stated)
    assert (found.max_skew, found.when_unsatisfiable) == want


def test_pools_are_preferred_in_equal_steps_and_a_single_one_needs_no_weight():
    assert [pool_weights(count) for count in (0, 1, 2, 3)] == [(), (), (100, 50), (100, 67, 34)]


def test_without_metrics_the_planned_replicas_run_and_at_least_one():
    replicas = Replicas(floor=0, expected=3, ceiling=2)
    assert fallback(replicas, scale_to_zero=True) == Fallback(least_replicas=0, failures=3, replicas=2)
    idle = Replicas(floor=0, expected=0, ceiling=2)
    assert fallback(idle, scale_to_zero=False) == Fallback(least_replicas=1, failures=3, replicas=1)


def test_scratch_space_and_deadline_of_a_copy_follow_the_weights_within_a_system_node():
    sizes = (10**9, 70 * 10**9, 141 * 10**9, 10**12)
    assert [ingest(size).scratch_gib for size in sizes] == [1, 3, 4, 4]
    assert [ingest(size).deadline_s for size in sizes[:3]] == [3600, 3600, 6724]
    assert ingest(10**9) == Ingest(deadline_s=3600, copy_deadline_s=3540, scratch_gib=1)


def test_a_proxy_takes_its_share_of_twice_what_the_ceiling_sustains_and_never_nothing():
    assert [requests_per_minute(1.5, proxies) for proxies in (1, 2, 7)] == [180, 90, 26]
    assert requests_per_minute(0.0001, 2) == 1


def test_a_model_that_is_awake_answers_within_twice_its_longest_answer_and_is_tried_again_twice():
    (route,) = gateway_plan((serving_plan(),), proxies=2).routes
    assert (route.request_timeout_s, route.wake_s, route.longest_s, route.idle_timeout_s) == (156, 0, 156, 60)
    assert (route.retries, route.retry_interval_s, route.parallel_requests) == (2, 1, 4 * (64 + 16))


def test_a_model_that_sleeps_is_tried_again_until_it_has_woken():
    (route,) = gateway_plan((serving_plan(scale_to_zero=True),), proxies=2).routes
    assert (route.wake_s, route.longest_s, route.retries, route.retry_interval_s) == (510, 666, 153, 10)


def test_idle_limits_lie_above_the_longest_request_and_at_the_load_balancer_within_its_bounds():
    found = gateway_plan((serving_plan(), large_serving_plan(longest_answer={"total_s": 3000})), proxies=2)
    assert (found.longest_s, found.idle_timeout_s, found.load_balancer_idle_s) == (6000, 6060, 6000)
    empty = gateway_plan((), proxies=2)
    assert (empty.longest_s, empty.load_balancer_idle_s, empty.routes) == (60, 120, ())


def test_the_limits_of_every_model_are_explained():
    models = (serving_plan(), large_serving_plan())
    names = [figure.name for figure in gateway_figures(gateway_plan(models, proxies=2), models)]
    assert "requests_per_minute of chat" in names
    assert "requests_per_minute of large" in names
    assert names[-2:] == ["gateway_idle_timeout_s", "deregistration_s"]
