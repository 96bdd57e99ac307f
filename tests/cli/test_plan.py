"""``tonnage plan`` and ``tonnage throughput``: contract keys, exit codes, formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.verbs.plan import service_name
from sizing.catalogue import load_catalogue
from tests.cli.conftest import Tonnage

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
TRAFFIC = ("--requests-per-second", "6", "--input-tokens", "900", "--output-tokens", "250")
SPEED = (
    "--gpu",
    "L4",
    "--concurrency",
    "8",
    "--input-tokens",
    "900",
    "--output-tokens",
    "250",
    "--max-model-len",
    "8192",
)
OPTION_KEYS = {
    "gpu", "instance_type", "instances_per_replica", "tensor_parallel", "replicas", "engine_args", "usd_per_hour",
    "usd_per_million_output_tokens", "ttft_ms", "tpot_ms", "meets",
}  # fmt: skip


def test_plan_prints_the_keys_of_the_contract(tonnage: Tonnage) -> None:
    called = tonnage("plan", MODEL, *TRAFFIC, "--top", "2", "--format", "json")
    document = called.document
    assert called.code == 0
    assert len(document["alternatives"]) == 2
    for option in (document["chosen"], *document["alternatives"]):
        assert option.keys() >= OPTION_KEYS
        assert option["replicas"].keys() == option["usd_per_hour"].keys() == {"floor", "expected", "ceiling"}
    assert all(row.keys() == {"option", "reason"} for row in document["rejected"])


def test_the_options_of_plan_reach_the_planner(tonnage: Tonnage) -> None:
    document = tonnage(
        "plan", MODEL, *TRAFFIC, "--gpu", "a10g", "--ttft-p95-ms", "4000", "--tpot-p95-ms", "120",
        "--region", "eu-west-1", "--spot-share", "0", "--format", "json",
    ).document  # fmt: skip
    assert document["region"] == "eu-west-1"
    assert {option["gpu"] for option in (document["chosen"], *document["alternatives"])} == {"A10G"}
    assert document["inputs"]["objectives"] == {"ttft_p95_ms": 4000.0, "tpot_p95_ms": 120.0}


@pytest.mark.parametrize("output_format", ["text", "markdown"])
def test_plan_explained_shows_the_choice_and_why_others_lost(tonnage: Tonnage, output_format: str) -> None:
    chosen = tonnage("plan", MODEL, *TRAFFIC, "--format", "json").document["chosen"]
    called = tonnage("plan", MODEL, *TRAFFIC, "--explain", "--format", output_format)
    assert f"{chosen['instance_type']}, {chosen['gpu']}, TP {chosen['tensor_parallel']}" in called.out
    assert "lost" in called.out


def test_a_model_outside_the_catalogue_is_planned_from_its_config(tonnage: Tonnage, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(load_catalogue().model_document(MODEL)["config"]))
    known = tonnage("plan", MODEL, *TRAFFIC, "--format", "json").document["chosen"]["instance_type"]
    assert tonnage("plan", str(tmp_path), *TRAFFIC, "--format", "json").document["chosen"]["instance_type"] == known


@pytest.mark.parametrize(
    ("extra", "code", "words"),
    [
        (("--ttft-p95-ms", "1"), 3, "TTFT"),
        (("--max-monthly-usd", "5"), 3, "the smallest that works"),
        (("--region", "mars-north-1"), 2, "'mars-north-1'"),
        (("--gpu", "H900"), 2, "'H900'"),
        (("--spot-share", "2"), 2, "--spot-share: 2.0"),
        (("--ttft-p95-ms", "-5"), 2, "--ttft-p95-ms: -5.0"),
        (("--max-monthly-usd", "nan"), 2, "--max-monthly-usd"),
        (("--top", "-1"), 2, "--top"),
    ],
)
def test_what_cannot_be_planned_is_one_line(tonnage: Tonnage, extra: tuple[str, ...], code: int, words: str) -> None:
    called = tonnage("plan", MODEL, *TRAFFIC, *extra)
    assert words in called.line
    assert called.code == code


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "1e99"])
def test_traffic_that_cannot_be_is_refused_by_name(tonnage: Tonnage, rate: str) -> None:
    called = tonnage("plan", MODEL, "--requests-per-second", rate, *TRAFFIC[2:])
    assert called.line.startswith("--requests-per-second: ")
    assert called.code == 2


def test_throughput_prints_the_keys_of_the_contract(tonnage: Tonnage) -> None:
    called = tonnage("throughput", MODEL, *SPEED, "--format", "json")
    assert called.code == 0
    for key in ("output_tokens_per_s", "ttft_ms", "tpot_ms"):
        spread = called.document[key]
        assert spread["p10"] < spread["p50"] < spread["p90"]


def test_throughput_of_what_does_not_fit_is_a_clear_no(tonnage: Tonnage) -> None:
    called = tonnage("throughput", "meta-llama/Llama-3.1-70B-Instruct", *SPEED)
    assert "does not fit L4" in called.line
    assert called.code == 3


@pytest.mark.parametrize(
    ("option", "value"), [("--concurrency", "0"), ("--input-tokens", "-1"), ("--output-tokens", "0")]
)
def test_throughput_of_nothing_is_refused_by_name(tonnage: Tonnage, option: str, value: str) -> None:
    called = tonnage("throughput", MODEL, *SPEED, option, value)
    assert option in called.line
    assert called.code == 2


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (MODEL, "llama-3-1-8b-instruct"),
        ("x/1_000.B", "b"),
        ("x/___", "model"),
        ("x/" + "a" * 60, "a" * 40),
    ],
)
def test_a_service_name_is_valid_in_kubernetes(model: str, name: str) -> None:
    assert service_name(model) == name


def test_plan_says_what_everything_costs_and_what_else_it_could_cost(tonnage: Tonnage) -> None:
    document = tonnage("plan", MODEL, *TRAFFIC, "--format", "json").document
    costs = {"bill", "burn", "cluster", "usd_per_million_tokens", "spot", "purchase_terms", "hosted"}
    assert document.keys() >= costs
    assert document["burn"]["expected"]["usd_per_hour"] == pytest.approx(
        sum(line["usd_per_hour"]["expected"] for line in document["bill"]), abs=1e-3
    )
    tokens = document["usd_per_million_tokens"]
    hour = 6 * 3600 / 1e6
    assert document["burn"]["expected"]["usd_per_hour"] == pytest.approx(
        hour * (900 * tokens["input"] + 250 * tokens["output"]), rel=2e-3
    )
    assert {"reserved-1y", "savings-plan-1y", "savings-plan-3y", "capacity-reservation"} <= {
        term["name"] for term in document["purchase_terms"]["terms"]
    }
    own = document["burn"]["expected"]["usd_per_month"] + document["cluster"]["burn"]["expected"]["usd_per_month"]
    assert document["hosted"]["self_hosted_usd_per_month"] == pytest.approx(own, abs=0.02)


def test_a_model_that_no_host_sells_and_a_plan_without_spot_leave_those_parts_out(tonnage: Tonnage) -> None:
    called = tonnage("plan", "Qwen/Qwen2-VL-7B-Instruct", *TRAFFIC, "--spot-share", "0", "--format", "json")
    assert called.document["hosted"] is None
    assert called.document["spot"] is None


@pytest.mark.parametrize("output_format", ["text", "markdown"])
def test_plan_explained_shows_tokens_spot_terms_and_hosts(tonnage: Tonnage, output_format: str) -> None:
    said = " ".join(tonnage("plan", MODEL, *TRAFFIC, "--explain", "--format", output_format).out.split())
    for words in ("per million tokens in", "interruptions a day", "Savings Plan", "novita-ai", "self-hosting"):
        assert words in said, words


def test_a_trace_tells_what_no_option_states_and_the_explanation_names_it(tonnage: Tonnage, tmp_path: Path) -> None:
    rows = "".join(f"{n / 2},{800 + n},40\n" for n in range(201))
    (tmp_path / "traffic.csv").write_text("arrival_s,input_tokens,output_tokens\n" + rows)
    called = tonnage("plan", MODEL, "--trace", str(tmp_path / "traffic.csv"), "--gpu", "L40S", "--format", "json")
    assert called.document["inputs"]["workload"]["requests_per_second"] == 2.0
    figure = next(one for one in called.document["chosen"]["explanation"] if one["name"] == "trace")
    assert figure["inputs"]["inputTokens"] == 900
    assert "201 requests in 0.03 h told burstiness, inputTokens" in figure["value"]


def test_what_neither_option_nor_trace_tells_is_missing(tonnage: Tonnage) -> None:
    called = tonnage("plan", MODEL, "--requests-per-second", "2", "--input-tokens", "900")
    assert (called.code, called.err.count("\n")) == (2, 1)
    assert "--output-tokens: missing; hint: state it, or --trace FILE" in called.err


@pytest.mark.parametrize("rate", ["1e-320", "1e-7", "-0.0"])
def test_a_rate_that_no_cost_can_be_divided_by_is_refused_by_name(tonnage: Tonnage, rate: str) -> None:
    called = tonnage("plan", MODEL, "--requests-per-second", rate, *TRAFFIC[2:])
    assert called.line.startswith("--requests-per-second: ")
    assert called.code == 2


def test_throughput_at_an_absurd_concurrency_is_refused_by_name(tonnage: Tonnage) -> None:
    called = tonnage("throughput", MODEL, *SPEED, "--concurrency", "1e308")
    assert "limit: 1e+06" in called.line
    assert called.code == 2


DAY = ",".join(["0.2"] * 12 + ["1"] * 4 + ["0.5"] * 8)


@pytest.mark.parametrize(
    ("option", "value", "key", "want"),
    [
        ("--peak-factor", "2", "peak_factor", 2.0),
        ("--minimum-share", "0.5", "minimum_share", 0.5),
        ("--prefix-share", "0.3", "prefix_share", 0.3),
        ("--batch-share", "0.4", "batch_share", 0.4),
        ("--burstiness", "0.5", "burstiness", 0.5),
        ("--input-tokens-p95", "1800", "input_tokens_p95", 1800),
        ("--output-tokens-p95", "600", "output_tokens_p95", 600),
        ("--daily-shape", DAY, "daily_shape", [float(share) for share in DAY.split(",")]),
    ],
)
def test_what_a_stack_states_of_its_traffic_can_be_stated_here(
    tonnage: Tonnage, option: str, value: str, key: str, want: object
) -> None:
    document = tonnage(
        "plan", MODEL, *TRAFFIC, "--gpu", "L40S", "--top", "0", option, value, "--format", "json"
    ).document
    assert document["inputs"]["workload"][key] == want


def test_replicas_machines_and_the_engine_can_be_bounded(tonnage: Tonnage) -> None:
    def chosen(*extra: str) -> dict[str, Any]:
        return tonnage("plan", MODEL, *TRAFFIC, "--top", "0", *extra, "--format", "json").document["chosen"]

    usual = chosen()
    assert chosen("--loss-tolerance", "zone")["replicas"]["floor"] > usual["replicas"]["floor"]
    assert chosen("--min-replicas", "3")["replicas"]["floor"] == 3
    assert chosen("--max-replicas", "1")["replicas"]["ceiling"] == 1
    assert chosen("--scale-to-zero")["usd_per_hour"]["floor"] == 0
    assert chosen("--quota", "L-DB2E81BA=0", "--quota", "L-3819A6DF=0")["instance_type"].startswith("p")
    assert chosen("--gpu", "H100", "--gpu", "b200")["gpu"] in {"H100", "B200"}
    assert "8192" in chosen("--max-model-len", "8192")["engine_args"]
    assert "fp8" in chosen("--kv-cache-dtype", "fp8", "--gpu", "L40S")["engine_args"]
    assert chosen("--tensor-parallel", "2")["tensor_parallel"] == 2
    assert chosen("--zones", "1", "--gpu", "B200")["gpu"] == "B200"


def test_another_checkpoint_is_named_where_it_is_chosen(tonnage: Tonnage) -> None:
    small = "RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8"
    call = ("plan", MODEL, *TRAFFIC, "--requests-per-second", "200", "--gpu", "H100", "--allowed-variant", small)
    assert tonnage(*call, "--format", "json").document["chosen"]["model"] == small
    assert f"vllm serve {small} " in tonnage(*call).out


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (("--loss-tolerance", "luck"), "--loss-tolerance: luck: input should be 'none'"),
        (("--daily-shape", "1,2"), "--daily-shape: 2.0"),
        (("--daily-shape", "noon"), "--daily-shape: 'noon' is no list of numbers"),
        (("--daily-shape", "1,1"), "--daily-shape: 2 numbers are no day"),
        (("--daily-shape", DAY, "--minimum-share", "0.1"), "minimumShare and dailyShape are both stated"),
        (("--input-tokens-p95", "100"), "inputTokensP95 100 must lie between"),
        (("--quota", "many"), "--quota: 'many' is no quota"),
        (("--quota", "L-DB2E81BA=1", "--quota", "L-DB2E81BA=2"), "--quota: quota L-DB2E81BA is stated twice"),
        (("--min-replicas", "3", "--max-replicas", "2"), "floor 3 is above ceiling 2"),
        (
            ("--scale-to-zero", "--min-replicas", "1"),
            (
                "options: scaleToZero is true beside replicas.floor 1, which never sleeps; limit: floor 0; "
                "hint: leave out one of the two"
            ),
        ),
        (("--max-replicas", "0"), "--max-replicas: 0"),
        (("--allowed-variant", "Qwen/Qwen3-8B"), "is no checkpoint of"),
    ],
)
def test_a_bound_that_cannot_hold_is_one_line(tonnage: Tonnage, extra: tuple[str, ...], words: str) -> None:
    called = tonnage("plan", MODEL, *TRAFFIC, *extra)
    assert words in called.line
    assert called.code == 2


def test_stages_are_told_wherever_an_engine_is_named(tonnage: Tonnage) -> None:
    call = ("plan", MODEL, *TRAFFIC, "--gpu", "L4", "--pipeline-parallel", "2", "--tensor-parallel", "1")
    shown = tonnage(*call)
    assert "L4, TP 1 x PP 2" in shown.out
    assert "1 x PP 2" in shown.out.split("Choice and alternatives")[1]


def test_the_speed_of_a_model_that_gives_vectors_is_told_for_one_token(tonnage: Tonnage) -> None:
    speed = ("throughput", "BAAI/bge-m3", "--gpu", "L4", "--concurrency", "4", "--input-tokens", "500")
    assert tonnage(*speed, "--output-tokens", "1").code == 0
    called = tonnage(*speed, "--output-tokens", "20")
    assert "outputTokens: 20 output tokens, but BAAI/bge-m3 answers with a vector or a score; limit: 1" in called.line
    assert called.code == 2
