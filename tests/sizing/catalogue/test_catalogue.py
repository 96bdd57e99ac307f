"""The catalogue: names, prices, zones, models."""

from __future__ import annotations

import json
import re

import pytest

from sizing.catalogue import load_catalogue
from sizing.catalogue.catalogue import HERE
from sizing.errors import BadInput
from tools.generators import build_catalogue

CATALOGUE = load_catalogue()
NAMES = (
    "T4 A10 A10G L4 L40S A100-40GB A100-80GB H100 H200 B200 B300 RTX-PRO-6000 RTX-3090 RTX-4090 RTX-5090 GB10 MI300X"
)
OUTSIDE_AWS = (
    "A800-80GB A100-PCIE H20 H800 H100-NVL H100-PCIE GH200 GB200 GB300 L20 RTX-A5000 RTX-A6000 RTX-3070 RTX-4080 "
    "RTX-5080 V100-32GB"
)


def test_every_gpu_of_the_contract_is_known_and_those_of_measured_starts():
    assert {gpu.name for gpu in CATALOGUE.gpus} == {*NAMES.split(), *OUTSIDE_AWS.split()}


def test_no_card_reports_less_than_it_is_planned_with():
    """CUDA totals printed by measured starts; one rounding of the last digit is allowed."""
    lines = (build_catalogue.DATA / "memory-logs.jsonl").read_text("utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["gpu_total_gib_reported"]]
    assert len({row["gpu_type"] for row in rows}) > 10
    for row in rows:
        reported, planned = row["gpu_total_gib_reported"], CATALOGUE.gpu(row["gpu_type"]).total_gib
        assert planned - 0.05 <= reported <= planned * 1.03, row["id"]


@pytest.mark.parametrize(
    ("alias", "name"),
    [("l40s", "L40S"), ("nvidia h100", "H100"), ("rtx4090", "RTX-4090"), ("A100", "A100-80GB"), ("h200_141gb", "H200")],
)
def test_a_gpu_is_found_in_any_case_and_by_its_common_aliases(alias, name):
    assert CATALOGUE.gpu(alias).name == name


def test_no_alias_means_two_gpus():
    aliases = [alias for gpu in CATALOGUE.gpus for alias in (gpu.name, *gpu.aliases)]
    assert len(aliases) == len(set(aliases))


def test_unknown_names_are_refused_with_the_nearest_known_ones():
    with pytest.raises(BadInput, match=r"'L5' is unknown.*L4"):
        CATALOGUE.gpu("L5")
    with pytest.raises(BadInput, match=r"Llama-3\.1-8B-Instruct"):
        CATALOGUE.model("meta-llama/Llama-3.1-8B-Instrct")
    with pytest.raises(BadInput, match="eu-west-1"):
        CATALOGUE.region("eu-west-9")
    with pytest.raises(BadInput, match=r"g6\.xlarge"):
        CATALOGUE.instance("g6.xlrge")
    others = len(CATALOGUE.models) - 12
    with pytest.raises(BadInput, match=rf"'0' is not in .*hint: known: (\S+, ){{11}}\S+ and {others} others$"):
        CATALOGUE.model("0")


def test_instances_come_cheapest_first_and_have_a_price_in_the_region():
    for region in CATALOGUE.regions:
        for gpu in CATALOGUE.gpus:
            found = CATALOGUE.instances(gpu.name, region.name)
            prices = [instance.on_demand_usd_per_hour[region.name] for instance in found]
            assert prices == sorted(prices)


def test_left_out_are_drivers_that_the_image_lacks_fractions_and_metal():
    types = [instance.instance_type for instance in CATALOGUE.all_instances]
    assert not [name for name in types if re.match(r"g7\.|g6f|gr6f", name) or name.endswith(".metal")]


def test_spot_zones_are_zones_in_which_the_instance_is_offered_and_never_above_on_demand():
    for instance in CATALOGUE.all_instances:
        for region, prices in instance.spot_usd_per_hour.items():
            assert set(prices) <= set(instance.zone_ids[region])
            dearest = instance.on_demand_usd_per_hour.get(region)
            assert dearest is None or max(prices.values()) <= dearest


def test_every_fixed_price_is_known_in_every_region():
    for name in CATALOGUE.prices:
        assert all(CATALOGUE.price(name, region.name) > 0 for region in CATALOGUE.regions)


def test_every_file_says_source_date_and_how_to_refresh_it():
    for path in sorted(HERE.rglob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        assert {"source", "date", "refresh"} <= set(document), path.name


def test_the_committed_gpu_and_instance_files_are_what_their_command_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(build_catalogue, "CATALOGUE", tmp_path)
    build_catalogue.main()
    for name in ("gpus.json", "instances.json"):
        committed = (HERE / name).read_text("utf-8")
        if json.loads(committed)["refresh"] == build_catalogue.REFRESH:  # not prices that AWS told since
            assert (tmp_path / name).read_text("utf-8") == committed, f"{name} is stale"


def test_models_are_pinned_to_a_commit_or_say_how_to_pin_them():
    for name in CATALOGUE.models:
        document = CATALOGUE.model_document(name)
        assert re.fullmatch(r"[0-9a-f]{40}", document["revision"]) or "pin with" in document["revision_source"]


def test_a_model_is_found_by_its_short_name_and_by_its_former_name():
    assert CATALOGUE.model("llama-3.1-8b-instruct").name == "meta-llama/Llama-3.1-8B-Instruct"
    assert CATALOGUE.model("meta-llama/Meta-Llama-3.1-8B-Instruct").name == "meta-llama/Llama-3.1-8B-Instruct"
