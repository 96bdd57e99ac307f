"""All-reduces are those of the card, or of the measured card that is joined in the same way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sizing.catalogue import load_catalogue
from sizing.catalogue.files import dated_file
from sizing.performance.all_reduce import all_reduce

CATALOGUE = load_catalogue()
MEASURED = dated_file("all_reduce")["cards"]


def test_a_measured_card_has_its_own_ring_and_its_own_direct_reduction() -> None:
    of_eight = MEASURED["H100"]["8"]
    found = all_reduce(CATALOGUE.gpu("H100"), 8)
    assert found.ring_bytes_per_s == of_eight["ring_gb_s"] * 1e9
    assert found.direct_latency_s == of_eight["direct_latency_us"] * 1e-6


def test_three_gpus_take_the_next_larger_number_and_sixteen_the_largest() -> None:
    gpu = CATALOGUE.gpu("H200")
    assert all_reduce(gpu, 3) == all_reduce(gpu, 4)
    assert all_reduce(gpu, 16) == all_reduce(gpu, 8)


def test_a_card_that_nobody_measured_takes_one_of_its_architecture_and_link_by_the_width_of_the_link() -> None:
    narrow = all_reduce(CATALOGUE.gpu("A800-80GB"), 8)
    wide = all_reduce(CATALOGUE.gpu("A100-80GB"), 8)
    assert narrow.ring_bytes_per_s == pytest.approx(wide.ring_bytes_per_s * 400 / 600)
    assert narrow.ring_latency_s == wide.ring_latency_s


@pytest.mark.parametrize("name", ["A10G", "L4", "L40S", "RTX-4090", "T4"])
def test_two_cards_on_pcie_reduce_through_the_host_as_four_do(name: str) -> None:
    gpu = CATALOGUE.gpu(name)
    assert all_reduce(gpu, 2) == all_reduce(gpu, 4)
    assert all_reduce(gpu, 2).direct_bytes_per_s == 0


def test_cards_that_read_each_others_memory_over_pcie_do_not() -> None:
    gpu = CATALOGUE.gpu("RTX-PRO-6000")
    assert all_reduce(gpu, 2).direct_bytes_per_s > all_reduce(gpu, 4).direct_bytes_per_s == 0


def test_a_bridge_makes_a_card_on_pcie_one_on_nvlink() -> None:
    bridged = replace(CATALOGUE.gpu("A100-PCIE"), link="nvlink", link_gb_s=600.0)
    assert all_reduce(bridged, 2) == all_reduce(CATALOGUE.gpu("A100-80GB"), 2)


def test_every_card_of_the_catalogue_has_one() -> None:
    assert all(all_reduce(gpu, number).ring_bytes_per_s > 0 for gpu in CATALOGUE.gpus for number in (1, 2, 4, 8))
