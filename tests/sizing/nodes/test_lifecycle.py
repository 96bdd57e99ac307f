"""How long nodes are kept follows from how long the models on them take to start and to leave."""

from dataclasses import replace

from sizing.nodes.lifecycle import with_lifetime, with_lifetimes
from tests.support.plans import node_pool_plan, pools_for, serving_plan

PLAN = serving_plan()
FLOOR, SPOT, BURST = pools_for(PLAN)
SLOW = serving_plan(name="slow", start_up={"weights_load_s": 1200.0}, pools=("chat-spot",))


def test_a_pool_of_models_that_start_fast_is_kept_for_ten_minutes_and_left_within_half_an_hour():
    found = SPOT.lifetime
    assert (found.consolidate_after_s, found.termination_s, found.deletion_s) == (600, 1800, 3600)
    assert found.expire_after_h == 720


def test_an_empty_node_is_kept_longer_than_the_slowest_start_of_its_models():
    pool = with_lifetime(replace(SPOT, models=("chat", "slow")), (PLAN, SLOW))
    assert SLOW.start_up.total_s == 90 + 120 + 1200 + 60 + 15
    assert pool.lifetime.consolidate_after_s == 2280  # 1.5 x 1485, in whole minutes


def test_a_leaving_node_waits_for_two_starts_and_the_longest_drain_and_its_removal_at_least_as_long():
    slower = serving_plan(start_up={"weights_load_s": 3000.0})
    found = with_lifetime(SPOT, (slower,)).lifetime
    assert found.termination_s == found.deletion_s == 6660  # 2 x 3285 + 90


def test_nodes_that_expire_together_have_the_time_to_leave_one_after_the_other():
    wide = with_lifetime(replace(SPOT, ceiling_instances=6), (PLAN,)).lifetime
    assert wide.termination_s == wide.deletion_s == 6 * SPOT.lifetime.termination_s


def test_pools_of_a_stack_expire_a_day_apart():
    shared = (FLOOR, SPOT, BURST, replace(SPOT, name="slow-spot"))
    ages = [pool.lifetime.expire_after_h for pool in with_lifetimes(shared, (PLAN, SLOW)) if pool.lifetime]
    assert ages == [720, 744, 768]


def test_pools_are_bought_from_in_the_order_of_the_plan():
    assert [pool.lifetime.weight for pool in (SPOT, BURST)] == [90, 80]


def test_a_shared_pool_is_as_preferred_as_by_the_model_that_names_it_first():
    shared = replace(SPOT, models=("chat", "slow"))
    assert with_lifetime(shared, (PLAN, SLOW)).lifetime.weight == 100


def test_a_managed_group_has_no_lifetime_and_nothing_to_explain():
    assert (FLOOR.lifetime, FLOOR.figures) == (None, ())
    assert with_lifetime(node_pool_plan(), (PLAN,)).lifetime is None


def test_every_time_of_a_pool_is_explained_by_its_own_name():
    told = {figure.name: figure.value for figure in SPOT.figures}
    assert told == {name: getattr(SPOT.lifetime, name) for name in vars(SPOT.lifetime)}
