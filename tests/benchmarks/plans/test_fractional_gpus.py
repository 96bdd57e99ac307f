from benchmarks.plans.fractional_gpus import cards, share_of
from sizing.catalogue import load_catalogue

CATALOGUE = load_catalogue()


def test_a_share_has_its_part_of_memory_bandwidth_and_multiprocessors_and_no_more():
    h100 = CATALOGUE.gpu("H100")
    share = share_of(h100, 0.25, 2 / 7)
    assert (share.total_gib, share.bandwidth_gb_s) == (h100.total_gib / 4, h100.bandwidth_gb_s / 4)
    assert share.dense_tflops["bf16"] == h100.dense_tflops["bf16"] * 2 / 7


def test_shares_of_no_card_add_up_to_more_than_the_card():
    whole = {gpu.name: gpu for gpu in CATALOGUE.gpus}
    for _, card, count in cards(CATALOGUE):
        assert card.total_gib * count <= whole[card.name].total_gib * 1.0001
        assert card.dense_tflops["fp16"] * count <= whole[card.name].dense_tflops["fp16"] * 1.0004
