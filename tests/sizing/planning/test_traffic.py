"""What a stack file says of its traffic beyond the mean: the day, bursts, tails of lengths, and what they cost."""

from __future__ import annotations

import math
import random
from statistics import NormalDist

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sizing.catalogue import load_catalogue
from sizing.errors import BadInput, NoPlan
from sizing.inputs import Capacity, ModelEntry
from sizing.plan import Bounds, StackPlan
from sizing.planning.planner import plan_model, plan_stack
from sizing.planning.search.enumeration import enumerate_options
from sizing.planning.search.options import Market
from sizing.planning.sensitivity import day_of
from sizing.workload.arrivals import POISSON, Arrivals, wait_of
from sizing.workload.lengths import lengths_of, sigma_of
from sizing.workload.workload import Objectives, Workload
from tests.support.plans import plan_request

REGION, CATALOGUE = "us-east-1", load_catalogue()
FEW = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
CAPACITY = Capacity(gpus=("A10G", "L4"), spot_share=0.5)
OFFICE = (*[0.1] * 8, *[0.6] * 3, *[1.0] * 5, *[0.4] * 4, *[0.1] * 4)


def workload(**stated: object) -> Workload:
    return Workload(**{"requests_per_second": 20.0, "input_tokens": 900, "output_tokens": 250, **stated})


def entry(**stated: object) -> ModelEntry:
    return ModelEntry(name="chat", model="meta-llama/Llama-3.1-8B-Instruct", workload=workload(**stated))


def cost(**stated: object) -> Bounds:
    return plan_model(
        entry(**stated), Market(capacity=CAPACITY, region=REGION, catalogue=CATALOGUE)
    ).chosen.usd_per_hour


def stack(**stated: object) -> StackPlan:
    return plan_stack(plan_request([entry(**stated)], capacity=CAPACITY))


def test_a_day_costs_the_mean_of_the_nodes_that_each_hour_needs() -> None:
    option = enumerate_options(
        entry(daily_shape=OFFICE), Market(capacity=CAPACITY, region=REGION, catalogue=CATALOGUE)
    ).options[0]
    price, spot = (option.offers[0].usd_per_hour(kind) for kind in ("on-demand", "spot"))
    floor, above = (
        option.split.floor,
        [count // option.per_node - option.split.floor for count in option.replicas.by_hour],
    )
    on_spot = [math.ceil(nodes / 2) for nodes in above]
    mean = floor * price + (sum(on_spot) * spot + (sum(above) - sum(on_spot)) * price) / 24
    assert len(set(above)) == len(set(OFFICE)) == 4
    assert option.usd_per_hour.expected == pytest.approx(mean)


def test_the_busiest_hour_decides_replicas_and_what_is_promised_whatever_the_day() -> None:
    loads, card = (entry(daily_shape=OFFICE), entry(minimum_share=min(OFFICE))), {"gpus": ("A10G",)}
    calm, busy = (
        plan_model(one, Market(capacity=CAPACITY.model_copy(update=card), region=REGION, catalogue=CATALOGUE)).chosen
        for one in loads
    )
    assert calm.replicas.expected == busy.replicas.expected
    assert calm.throughput == busy.throughput
    assert calm.usd_per_hour.expected < busy.usd_per_hour.expected
    assert calm.usd_per_hour.ceiling == busy.usd_per_hour.ceiling


def test_the_page_draws_the_stated_day_and_its_month_is_the_expected_cost() -> None:
    one = entry(daily_shape=OFFICE)
    chosen = plan_model(one, Market(capacity=CAPACITY, region=REGION, catalogue=CATALOGUE)).chosen
    day = day_of(chosen, one, Market(capacity=CAPACITY, region=REGION, catalogue=CATALOGUE))
    assert [hour.requests_per_second for hour in day.hours] == pytest.approx([20 * share for share in OFFICE])
    assert tuple(hour.replicas for hour in day.hours) == chosen.replicas.by_hour
    assert day.mean_usd_per_month == pytest.approx(chosen.usd_per_hour.expected * 730)


@settings(FEW, max_examples=6)
@given(shares=st.lists(st.floats(0, 1), min_size=23, max_size=23), zero=st.booleans(), rate=st.floats(0.1, 60))
def test_a_day_is_never_dearer_than_its_busiest_hour_and_keeps_the_bounds_in_order(
    shares: list[float], zero: bool, rate: float
) -> None:
    shape = (*shares, 1.0)
    flat = cost(requests_per_second=rate, minimum_share=min(shape))
    plan = stack(requests_per_second=rate, daily_shape=shape)
    assert plan.models[0].usd_per_hour.expected <= flat.expected + 1e-9
    for bounds in (plan.burn_usd_per_hour, *(one.usd_per_hour for one in (*plan.models, *plan.pools, *plan.bill))):
        assert bounds.floor <= bounds.expected <= bounds.ceiling


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"daily_shape": [1.0] * 23}, "23 numbers are no day"),
        ({"daily_shape": [0.5] * 24}, "the largest is 0.5, not 1"),
        ({"daily_shape": [1.5] + [1.0] * 23}, "less than or equal to 1"),
        ({"daily_shape": [-0.1] + [1.0] * 23}, "greater than or equal to 0"),
        ({"daily_shape": OFFICE, "minimum_share": 0.1}, "both stated"),
    ],
)
def test_a_day_that_is_none_is_refused(stated: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        workload(**stated)


def test_the_quietest_hour_of_the_day_is_the_minimum_share() -> None:
    assert workload(daily_shape=OFFICE).minimum_share == 0.1
    assert workload().minimum_share == 0.2
    assert workload(daily_shape=OFFICE).restated({"output_tokens": 10}).daily_shape == OFFICE


PLAIN = {"requests_per_second": 20.0, "input_tokens": 900, "output_tokens": 250}


@settings(FEW, max_examples=4)
@given(
    rate=st.floats(0.5, 40),
    arrivals=st.tuples(st.floats(0.1, 8), st.floats(0.2, 1)),
    tails=st.tuples(st.floats(1, 3.8), st.floats(1, 3)),
    key=st.sampled_from(["input_tokens", "output_tokens"]),
)
def test_a_burstier_or_longer_tailed_workload_is_never_cheaper(
    rate: float, arrivals: tuple[float, float], tails: tuple[float, float], key: str
) -> None:
    (burstiness, burstier), (tail, longer) = arrivals, tails

    def expected(shape: float, ratio: float) -> float:
        stated = {"requests_per_second": rate, f"{key}_p95": max(int(PLAIN[key] * ratio), PLAIN[key])}
        try:
            return cost(**stated, burstiness=max(shape, 0.05)).expected
        except NoPlan:
            return math.inf

    assert expected(burstiness * burstier, tail) >= expected(burstiness, tail) - 1e-9
    assert expected(burstiness, min(tail * longer, 3.8)) >= expected(burstiness, tail) - 1e-9


def test_poisson_and_exponential_are_what_nothing_stated_means() -> None:
    plain = plan_model(entry(), Market(capacity=CAPACITY, region=REGION, catalogue=CATALOGUE))
    assert plan_model(entry(burstiness=1.0), Market(capacity=CAPACITY, region=REGION, catalogue=CATALOGUE)) == plain


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"burstiness": 0.01}, "greater than or equal to 0.05"),
        ({"burstiness": 21.0}, "less than or equal to 20"),
        ({"input_tokens_p95": 899}, "inputTokensP95 899 must lie between inputTokens 900 and 3.87 times it"),
        ({"output_tokens_p95": 968}, "outputTokensP95 968 must lie between outputTokens 250 and 3.87 times it"),
    ],
)
def test_arrivals_and_tails_that_cannot_be_are_refused(stated: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        workload(**stated)


def test_a_tail_longer_than_the_context_is_refused() -> None:
    long = entry(input_tokens=40_000, input_tokens_p95=131_000)
    with pytest.raises(BadInput, match=r"inputTokensP95 \+ outputTokens = 131250 is longer than a request may be"):
        plan_model(long, Market(capacity=CAPACITY, region=REGION, catalogue=CATALOGUE))


def test_lengths_all_alike_have_no_spread_and_the_widest_are_cut_at_the_context() -> None:
    alike, usual, wide = (lengths_of(100, p95, 4096) for p95 in (100, None, 387))
    assert (alike.variation, alike.variation_seen, alike.short_share) == (0, 0, 1)
    assert (usual.p95_over_mean, usual.variation, usual.variation_seen, usual.short_share) == (3, 1, 0.5, 0.3)
    assert usual.second_moment < wide.second_moment < 15  # 14.97 were no request cut


def test_moments_of_cut_lengths_are_those_of_the_distribution() -> None:
    sigma, deviations = sigma_of(2.0), NormalDist()
    quantiles = [deviations.inv_cdf((i + 0.5) / 20_000) for i in range(20_000)]
    lengths = [min(100 * math.exp(sigma * at - sigma**2 / 2), 250.0) for at in quantiles]
    made = lengths_of(100, 200, 250)
    assert made.second_moment == pytest.approx(sum(x**2 for x in lengths) / 20_000 / 100**2, rel=0.001)
    assert made.third_moment == pytest.approx(sum(x**3 for x in lengths) / 20_000 / 100**3, rel=0.001)
    assert lengths[19_000] == pytest.approx(200, rel=0.001)


def test_waits_are_those_of_known_queues() -> None:
    poisson, fixed = wait_of(0.8, POISSON, 1.0), wait_of(0.8, POISSON, 0.0)
    assert poisson.mean == pytest.approx(4.0)  # M/M/1: 0.8 / 0.2
    assert fixed.mean == pytest.approx(2.0)  # M/D/1: half of it
    smooth = wait_of(0.5, Arrivals(20.0), 1.0)
    assert 0.2032 < smooth.delayed < 0.23  # 0.2032 were arrivals on the clock (D/M/1)
    assert wait_of(0.5, Arrivals(0.1), 1.0).mean > 4 * wait_of(0.5, POISSON, 1.0).mean
    assert (POISSON.peakedness, Arrivals(0.5).peakedness) == (1, 1.5)


def test_a_replica_that_takes_its_share_by_chance_waits_as_a_queue_behind_such_a_balancer() -> None:
    arrivals, busy = Arrivals(0.1, 0.25), 0.3
    chance, clock, free, gaps, waited, last = random.Random(1), 0.0, 0.0, [], 0, 0.0
    while len(gaps) < 40_000:
        clock += chance.gammavariate(arrivals.burstiness, arrivals.share / arrivals.burstiness / busy)
        if chance.random() < arrivals.share:
            gaps.append(clock - last)
            last, waited, free = clock, waited + (free > clock), max(free, clock) + chance.expovariate(1)
    mean = sum(gaps) / len(gaps)
    assert arrivals.variation == 1 + 0.25 * 9
    assert sum((gap / mean - 1) ** 2 for gap in gaps) / len(gaps) == pytest.approx(arrivals.variation, rel=0.05)
    assert wait_of(busy, arrivals, 1.0).delayed == pytest.approx(waited / len(gaps), rel=0.02)


@settings(FEW, max_examples=40)
@given(burstiness=st.floats(0.05, 1), busy=st.floats(0.01, 0.99), share=st.floats(0.01, 1), fewer=st.floats(0.01, 1))
def test_the_smaller_the_share_the_nearer_to_poisson(
    burstiness: float, busy: float, share: float, fewer: float
) -> None:
    wide, narrow = (wait_of(busy, Arrivals(burstiness, part), 1.0) for part in (share, share * fewer))
    poisson = wait_of(busy, POISSON, 1.0)
    assert abs(narrow.mean - poisson.mean) <= abs(wide.mean - poisson.mean) + 1e-6
    assert wait_of(busy, Arrivals(burstiness, 1e-9), 1.0).mean == pytest.approx(poisson.mean, rel=1e-3)


def test_bursts_that_more_replicas_share_leave_each_more_and_a_quiet_hour_has_fewer_to_share_them() -> None:
    load = {"requests_per_second": 20.0, "burstiness": 0.1}
    found = enumerate_options(
        entry(**load, daily_shape=OFFICE), Market(capacity=CAPACITY, region=REGION, catalogue=CATALOGUE)
    ).options[0]
    rates, wanted = found.engine.rates, entry(**load).workload
    assert rates.at_share(0.1) < rates.at_share(0.6) < rates.within == rates.at_share(1.0) < rates.at_share(1.5)
    assert rates.replicas(wanted, 0.1) > 1.2 * rates.replicas(wanted) / 10


def test_an_hour_with_next_to_no_traffic_takes_one_replica_however_bursty() -> None:
    day = (1e-9, *[1.0] * 23)
    found = enumerate_options(
        entry(burstiness=0.05, daily_shape=day), Market(capacity=CAPACITY, region=REGION, catalogue=CATALOGUE)
    ).options[0]
    assert found.replicas.by_hour[0] == found.replicas.floor == found.per_node


def test_the_autoscaler_counts_the_replicas_of_the_busiest_hour_and_more_than_enough_in_others() -> None:
    one = entry(requests_per_second=20.0, burstiness=0.1, daily_shape=OFFICE, peak_factor=1.0)
    plan = plan_model(one, Market(capacity=CAPACITY, region=REGION, catalogue=CATALOGUE)).chosen
    rates = (
        enumerate_options(one, Market(capacity=CAPACITY, region=REGION, catalogue=CATALOGUE)).options[0].engine.rates
    )
    scaling, lag = plan.scaling, next(figure for figure in plan.figures if figure.name == "scale_up_lag_s")
    early = 1 + float(lag.inputs["rise_share"])
    each = scaling.requests_per_s * (1 + scaling.scale_up_tolerance) * early

    def asked(share: float) -> float:
        return (20 * share + scaling.spare_requests_per_s * early) / each

    assert rates.scale_out_gain > 1.05
    assert asked(1.0) == pytest.approx(rates.replicas(one.workload), rel=1e-3)
    for share in (0.1, 0.4, 0.6):
        assert asked(share) > rates.replicas(one.workload, share) * 0.999  # to which rates are known


def test_a_tail_moves_with_its_mean() -> None:
    longer = workload(output_tokens_p95=500).restated({"output_tokens": 500})
    assert longer.output_tokens_p95 == 1000


def test_what_may_wait_takes_replicas_like_the_others_but_no_peak_or_floor() -> None:
    found = enumerate_options(
        entry(batch_share=0.5, peak_factor=3.0), Market(capacity=CAPACITY, region=REGION, catalogue=CATALOGUE)
    ).options[0]
    rates, replicas = found.engine.rates, found.replicas
    assert rates.within == found.engine.most.requests_per_s
    assert replicas.batch == pytest.approx(10 / rates.within)
    assert replicas.expected >= 20 / rates.within > replicas.expected - found.per_node
    assert replicas.ceiling >= 40 / rates.within > replicas.ceiling - found.per_node
    assert replicas.floor >= 2 / rates.within > replicas.floor - found.per_node


def test_what_may_wait_is_spread_over_the_day() -> None:
    found = enumerate_options(
        entry(batch_share=0.5, daily_shape=OFFICE), Market(capacity=CAPACITY, region=REGION, catalogue=CATALOGUE)
    ).options[0]
    assert found.replicas.batch == pytest.approx(10 * sum(OFFICE) / 24 / found.engine.rates.within)
    plan = stack(batch_share=0.5, daily_shape=OFFICE)
    assert plan.models[0].meets


@settings(FEW, max_examples=4)
@given(rate=st.floats(0.5, 60), more=st.floats(1, 3), share=st.floats(0, 0.9), waits=st.floats(0, 1))
def test_more_that_may_wait_is_never_dearer_and_more_traffic_never_cheaper(
    rate: float, more: float, share: float, waits: float
) -> None:
    day = {"daily_shape": OFFICE, "burstiness": 0.5, "output_tokens_p95": 700}
    usual = cost(requests_per_second=rate, batch_share=share * waits, **day).expected
    whole = cost(requests_per_second=0.01).floor  # what waits fills every hour alike, and hours are whole replicas
    assert cost(requests_per_second=rate, batch_share=share, **day).expected <= usual + whole
    assert cost(requests_per_second=rate * more, batch_share=share * waits, **day).expected >= usual - 1e-9


@settings(FEW, max_examples=4)
@given(rate=st.floats(0.5, 30), tpot=st.floats(30, 120), looser=st.floats(1, 4))
def test_a_looser_objective_is_never_dearer_whatever_the_traffic(rate: float, tpot: float, looser: float) -> None:
    load = workload(requests_per_second=rate, burstiness=0.4, input_tokens_p95=2500, batch_share=0.3)

    def expected(tpot_ms: float) -> float:
        one = entry().model_copy(
            update={"workload": load, "objectives": Objectives(ttft_p95_ms=4000, tpot_p95_ms=tpot_ms)}
        )
        return plan_model(
            one, Market(capacity=Capacity(gpus=("L40S", "H100")), region=REGION, catalogue=CATALOGUE)
        ).chosen.usd_per_hour.expected

    assert expected(tpot * looser) <= expected(tpot) + 1e-9


def test_the_same_traffic_gives_the_same_plan() -> None:
    stated = {"daily_shape": OFFICE, "burstiness": 0.3, "input_tokens_p95": 2000, "batch_share": 0.4}
    assert stack(**stated) == stack(**stated)


@pytest.mark.parametrize(("prompt", "answer"), [(8000, 1), (20_000, 1), (20_000, 2), (60_000, 10)])
def test_long_prompts_with_hardly_an_answer_are_carried(prompt: int, answer: int) -> None:
    one = entry(requests_per_second=0.1, input_tokens=prompt, output_tokens=answer)
    one = one.model_copy(update={"objectives": Objectives(ttft_p95_ms=60_000, tpot_p95_ms=60_000)})
    assert plan_model(one, Market(capacity=Capacity(gpus=("H100",)), region=REGION, catalogue=CATALOGUE)).chosen.meets


def test_a_single_token_has_no_time_between_tokens_to_keep() -> None:
    strict, lax = (
        entry(input_tokens=500, output_tokens=1).model_copy(update={"objectives": Objectives(tpot_p95_ms=tpot)})
        for tpot in (80, 60_000)
    )
    costs = {
        plan_model(one, Market(capacity=CAPACITY, region=REGION, catalogue=CATALOGUE)).chosen.usd_per_hour
        for one in (strict, lax)
    }
    assert len(costs) == 1
