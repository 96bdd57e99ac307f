"""What a measurement concludes: which figures contradict a plan, and what to set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sizing.catalogue import load_catalogue
from sizing.errors import BadInput
from sizing.inputs import ModelEntry
from sizing.observe.endpoint_metrics import Sample, endpoint_metrics
from sizing.observe.logs.startup_log import parse_startup_log
from sizing.observe.logs.wordings import Failure
from sizing.observe.measured import Measured, find_gpu, find_model_name, measured_of_endpoint, measured_of_log
from sizing.observe.measurement import Measurement, measure, measurement_document
from sizing.observe.prediction import Prediction, overrides_of, predict, prediction_of_plan, stack_prediction
from sizing.observe.verdict import Term
from sizing.workload.workload import Objectives, Workload
from tests.support.plans import serving_plan, stack_plan

LOGS = Path(__file__).resolve().parents[2] / "data" / "startup-logs"
CATALOGUE = load_catalogue()
PLAN = serving_plan()
MEMORY = PLAN.memory


def log(name: str) -> Measured:
    return measured_of_log(parse_startup_log([(LOGS / name).read_bytes()]))


def engine(**changes: Any) -> Measured:
    """An engine that runs exactly as planned, except for ``changes``."""
    as_planned = Measured(
        source="log",
        vllm_version="0.32.0",
        model="m",
        gpu_name=None,
        total_gib=MEMORY.total_gib,
        settings={},
        terms={"weights_gib": MEMORY.weights_gib, "kv_cache_gib": MEMORY.kv_cache_gib},
        kv_tokens=MEMORY.kv_tokens,
        max_concurrency=MEMORY.max_concurrency,
        graphs_in_budget=None,
    )
    return replace(as_planned, **changes)


def expected(**changes: Any) -> Prediction:
    prediction = Prediction(
        model="m", gpu="L4", gpu_source="stated", total_source="log", engine=PLAN.engine, sources={}, memory=MEMORY
    )
    return replace(prediction, **changes)


def compared(measured: Measured, prediction: Prediction | None = None) -> Measurement:
    return measure(measured, prediction or expected())


def term(measurement: Measurement, name: str) -> Term:
    return next(one for one in measurement.terms if one.name == name)


def test_an_engine_as_planned_changes_nothing() -> None:
    verdict = compared(engine()).verdict
    assert (verdict.change, verdict.reasons, verdict.actions) == (False, (), ())


def test_a_cache_below_p10_names_the_sequences_that_it_holds() -> None:
    terms = {"kv_cache_gib": MEMORY.kv_cache_gib * 0.75}
    verdict = compared(engine(terms=terms, kv_tokens=None)).verdict
    assert verdict.reasons == ("measured KV cache is 0.85 GiB below the estimate of 3.39 (p10 3.10)",)
    wanted = PLAN.engine.max_num_seqs
    assert verdict.actions == (f"max_num_seqs {wanted} -> {int(wanted * 0.75) // 8 * 8}",)


def test_a_cache_within_its_spread_changes_nothing_and_a_larger_one_is_said() -> None:
    assert not compared(engine(terms={"kv_cache_gib": 3.11})).verdict.change
    larger = compared(engine(terms={"kv_cache_gib": 4.39}))
    assert not larger.verdict.change
    assert larger.notes == ("the KV cache is 1.00 GiB larger than estimated: nothing has to change",)


def test_fewer_tokens_in_the_same_cache_contradict_the_plan() -> None:
    verdict = compared(engine(kv_tokens=MEMORY.kv_tokens // 2)).verdict
    assert verdict.reasons[0].startswith("tokens in the KV cache are 13,880 tokens below the estimate of 27,760")


def test_weights_beyond_three_per_cent_are_to_be_stated() -> None:
    verdict = compared(engine(terms={"weights_gib": 16.0})).verdict
    assert verdict.reasons == ("weights are 1.01 GiB above the estimate of 14.99",)
    assert verdict.actions == ("weights_gib 16, or check revision and quantisation of the checkpoint",)
    assert not compared(engine(terms={"weights_gib": 15.2})).verdict.change


def test_lighter_weights_change_nothing_while_the_cache_is_as_expected() -> None:
    lighter = {"weights_gib": 14.0}
    assert not compared(engine(terms=lighter | {"kv_cache_gib": MEMORY.kv_cache_gib})).verdict.change
    assert compared(engine(terms=lighter)).verdict.change


def test_a_start_that_the_estimate_refuses_contradicts_it() -> None:
    refused = expected(memory=replace(MEMORY, fits=False, binding="weights"))
    assert "although the estimate says that it does not fit" in compared(engine(), refused).verdict.reasons[0]


def failed(kind: str, line: str = "the error", **changes: Any) -> Measured:
    return engine(started=False, failures=(Failure(kind=kind, line=line),), **changes)


def test_a_failed_start_that_was_said_to_fit_names_what_to_lower() -> None:
    verdict = compared(failed("out_of_memory", "CUDA out of memory " + "x" * 500)).verdict
    assert verdict.reasons[0].startswith("the engine did not start, although the estimate says that it fits: CUDA")
    assert len(verdict.reasons[0]) < 260
    assert verdict.actions[0].startswith("gpu_memory_utilization 0.92 -> 0.87")


def test_a_failed_start_that_was_predicted_repeats_the_hints() -> None:
    refused = expected(memory=replace(MEMORY, fits=False, hints=("tensor-parallel 2 fits",)))
    verdict = compared(failed("kv_cache", longest_model_len=4096), refused).verdict
    assert ", as the estimate says: " in verdict.reasons[0]
    assert verdict.actions == (f"max_model_len {PLAN.engine.max_model_len} -> 4096", "tensor-parallel 2 fits")


def test_out_of_memory_under_load_asks_for_room() -> None:
    measured = engine(failures=(Failure(kind="out_of_memory_while_serving", line="CUDA out of memory"),))
    verdict = compared(measured).verdict
    assert verdict.reasons == ("the engine came up and ran out of memory while serving: CUDA out of memory",)
    assert verdict.actions[0] == "gpu_memory_utilization 0.92 -> 0.87"


def test_a_card_in_use_names_the_share_that_is_left() -> None:
    measured = log("v0.9.1-busy-card.log")
    verdict = compared(measured).verdict
    assert verdict.reasons == ("the engine did not start: 15.94 of 47.38 GiB are in use by others",)
    assert verdict.actions == ("free the card, or gpu_memory_utilization -> 0.66",)


def test_a_failure_for_another_reason_is_not_a_matter_of_memory() -> None:
    assert "not for its memory" in compared(failed("failed")).verdict.reasons[0]


ENTRY = ModelEntry(
    name=PLAN.name,
    model=PLAN.model,
    workload=Workload(requests_per_second=1.0, input_tokens=900, output_tokens=250),
    objectives=Objectives(),
)


def test_an_engine_with_other_settings_than_its_stack_is_named() -> None:
    prediction = prediction_of_plan(PLAN, ENTRY, "prod")
    length = PLAN.engine.max_model_len
    measured = engine(settings={"max_model_len": length // 2, "tensor_parallel": PLAN.engine.tensor_parallel})
    measurement = compared(measured, prediction)
    assert measurement.verdict.reasons[0] == f"the engine runs with max_model_len {length // 2} (stack: {length})"
    assert measurement.verdict.actions[0] == "deploy prod again, or state these settings in it"
    assert term(measurement, "kv_tokens").predicted is None  # of another length


def test_a_plan_that_needs_more_tokens_than_there_are_needs_more_replicas() -> None:
    prediction = replace(prediction_of_plan(PLAN, ENTRY, "prod"), tokens_needed=60_000, replicas=3)
    measured = engine(kv_tokens=30_000, terms={"kv_cache_gib": MEMORY.kv_cache_gib})
    verdict = compared(measured, prediction).verdict
    assert verdict.reasons == ("the plan counts on 60,000 tokens in flight for each replica, the cache holds 30,000",)
    assert verdict.actions == ("replicas 3 -> 6",)


def test_a_stack_with_several_models_asks_which() -> None:
    two = (PLAN, replace(PLAN, name="other"))
    entries = (ENTRY, ENTRY.model_copy(update={"name": "other"}))
    plan = replace(stack_plan(), models=two)
    with pytest.raises(BadInput, match=f"name one with --model: {PLAN.name}, other"):
        stack_prediction(engine(), plan, entries, None, CATALOGUE)
    assert stack_prediction(engine(), plan, entries, "other", CATALOGUE).stack == plan.stack
    with pytest.raises(BadInput, match="'third' is not in stack"):
        stack_prediction(engine(), plan, entries, "third", CATALOGUE)


def test_the_log_of_another_model_is_not_compared_further() -> None:
    plan = replace(stack_plan(), models=(PLAN,))
    measured = engine(model="/models/Qwen2.5-32B-Instruct", kv_tokens=1)
    prediction = stack_prediction(measured, plan, (ENTRY,), None, CATALOGUE)
    assert compared(measured, prediction).verdict.reasons == ("the engine serves Qwen/Qwen2.5-32B-Instruct",)


def test_the_settings_of_a_log_are_those_of_the_estimate() -> None:
    measured = log("v0.10.1.1-tp2-wrapped.log")
    overrides, sources = overrides_of(measured, {"max_num_seqs": 64, "max_model_len": None})
    assert (overrides.tensor_parallel, overrides.max_model_len, overrides.max_num_batched_tokens) == (2, 16384, 2048)
    assert (overrides.gpu_memory_utilization, overrides.vllm_version, overrides.max_num_seqs) == (0.5, "0.10.1.1", 64)
    assert (sources["max_num_seqs"], sources["tensor_parallel"]) == ("stated", "log")


def test_a_printed_value_that_cannot_be_is_named() -> None:
    with pytest.raises(BadInput, match="log: max_num_seqs 99999: input should be less than"):
        overrides_of(engine(settings={"max_num_seqs": 99_999}), {})


def test_fp8_of_every_kind_is_one_byte_and_speculation_that_is_not_modelled_is_said() -> None:
    text = (
        "(APIServer pid=1) INFO 1 [u.py:1] non-default args: {'model': 'm', 'kv_cache_dtype': 'fp8_e4m3', "
        "'speculative_config': {'method': 'eagle3', 'model': 'd', 'num_speculative_tokens': 3}}\n"
        "(EngineCore pid=2) INFO 1 [k.py:1] GPU KV cache size: 100 tokens\n"
    )
    measured = measured_of_log(parse_startup_log([text.encode()]))
    assert measured.settings == {"kv_cache_dtype": "fp8"}
    assert measured.notes == ("the engine has a draft model, which the estimate does not count",)


def test_graphs_that_a_switch_moved_out_of_the_budget_are_moved_in_the_estimate() -> None:
    model, gpu = CATALOGUE.model("Qwen/Qwen3-8B"), CATALOGUE.gpu("L4")
    stated: dict[str, Any] = {"vllm_version": "0.25.0", "max_model_len": 4096}
    predictions = [
        predict(engine(settings={}, vllm_version=None, graphs_in_budget=inside, total_gib=None), model, gpu,
                gpu_source="stated", stated=stated).memory
        for inside in (True, None, False)
    ]  # fmt: skip
    assert predictions[0] == predictions[1]
    moved = predictions[2].kv_cache_gib - predictions[0].kv_cache_gib
    assert moved == pytest.approx(predictions[0].cuda_graph_gib)
    assert predictions[2].kv_tokens > predictions[0].kv_tokens


@pytest.mark.parametrize(
    ("printed", "name"),
    [
        ("NVIDIA_H100_80GB_HBM3", "H100"),
        ("NVIDIA_A100-SXM4-80GB", "A100-80GB"),
        ("Tesla T4", "T4"),
        ("NVIDIA_L40S", "L40S"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA_GeForce_RTX_4090", "RTX-4090"),
        ("AMD_Instinct_MI300X", "MI300X"),
    ],
)
def test_a_card_is_known_by_what_cuda_calls_it(printed: str, name: str) -> None:
    gpu, why = find_gpu(engine(gpu_name=printed, total_gib=None), None, CATALOGUE)
    assert (gpu.name, why) == (name, f"the log names {printed}")


def test_a_card_is_known_by_its_total_only_where_no_other_has_it() -> None:
    gpu, why = find_gpu(engine(total_gib=14.74 - 0.1), None, CATALOGUE)
    assert (gpu.name, why) == ("T4", "the only known card with 14.64 GiB")
    with pytest.raises(BadInput, match=r"A100-80GB, .*H100.*hint: name it with --gpu"):
        find_gpu(engine(total_gib=79.2), None, CATALOGUE)
    with pytest.raises(BadInput, match="3 GiB is the size of no known card"):
        find_gpu(engine(total_gib=3.0), None, CATALOGUE)
    with pytest.raises(BadInput, match="the log does not say which it is"):
        find_gpu(engine(total_gib=None), None, CATALOGUE)


def test_a_name_that_the_total_contradicts_is_not_believed() -> None:
    with pytest.raises(BadInput, match="55 GiB is the size of no known card"):
        find_gpu(engine(gpu_name="NVIDIA_H100_PART", total_gib=55.0), None, CATALOGUE)


@pytest.mark.parametrize(
    ("served", "name"),
    [
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("/models/Qwen3-8B/", "Qwen3-8B"),
        ("Qwen3-8B", "Qwen3-8B"),
        ("/hub/models--Qwen--Qwen3-8B/snapshots/b968826d9c46dd6066d109eabc6255188de91218", "Qwen/Qwen3-8B"),
        ("someone/unknown", "someone/unknown"),
    ],
)
def test_a_model_is_known_by_its_name_or_its_folder(served: str, name: str) -> None:
    assert find_model_name(engine(model=served), None, CATALOGUE) == name


@pytest.mark.parametrize("served", ["/models/mine", "mine", "../mine", "/etc/passwd"])
def test_an_unknown_folder_is_not_opened(served: str) -> None:
    with pytest.raises(BadInput, match="is not in the catalogue; hint: name it"):
        find_model_name(engine(model=served), None, CATALOGUE)


def test_what_ran_on_no_gpu_is_not_compared() -> None:
    with pytest.raises(BadInput, match="the engine ran on CPU"):
        log("v0.32.0-cpu.log")


def test_a_log_without_figures_is_not_compared() -> None:
    with pytest.raises(BadInput, match="holds no memory figure"):
        measured_of_log(parse_startup_log([b"INFO 1 api_server.py:1] vLLM API server version 0.9.1\n"]))


def test_the_real_a100_of_0_26_is_as_predicted() -> None:
    measured = log("v0.26.1-usage.log")
    model, gpu = CATALOGUE.model("Qwen/Qwen3-30B-A3B-Instruct-2507"), CATALOGUE.gpu("A100-80GB")
    measurement = measure(measured, predict(measured, model, gpu, gpu_source="log", stated={}))
    assert not measurement.verdict.change
    assert abs(term(measurement, "weights_gib").error or 1) < 0.01
    assert term(measurement, "kv_cache_gib").inside is True
    document = measurement_document(measurement)
    assert document["inputs"]["gpu_total_gib"] == {"value": 79.25, "source": "log"}  # type: ignore[index]


def samples(**values: float) -> list[Sample]:
    cache = {"num_gpu_blocks": "1000", "block_size": "16", "cache_dtype": "fp8_e4m3", "gpu_memory_utilization": "0.9"}
    found = [Sample(name="vllm:cache_config_info", labels=cache, value=1.0)]
    return found + [Sample(name=f"vllm:{name}", labels={"engine": "0"}, value=value) for name, value in values.items()]


def test_an_endpoint_of_an_older_version_is_read_by_its_older_names() -> None:
    metrics = endpoint_metrics(
        samples(gpu_cache_usage_perc=0.5, gpu_prefix_cache_queries_total=10, gpu_prefix_cache_hits_total=4,
                time_per_output_token_seconds_count=2, time_per_output_token_seconds_sum=0.1)
    )  # fmt: skip
    assert (metrics.load.kv_cache_usage, metrics.load.prefix_hit_rate) == (0.5, 0.4)
    assert metrics.load.tpot is not None
    assert metrics.load.tpot.mean_ms == pytest.approx(50)
    measured = measured_of_endpoint(metrics, vllm_version="0.9.0", max_model_len=4096, model=None)
    assert (measured.kv_tokens, measured.settings["max_model_len"]) == (16_000, 4096)
    assert measured.settings["kv_cache_dtype"] == "fp8"


def test_engines_of_one_server_add_up_and_the_smallest_cache_counts() -> None:
    second = replace(samples()[0], labels={"num_gpu_blocks": "900", "block_size": "16", "engine": "1"})
    running = [Sample(name="vllm:num_requests_running", labels={"engine": one}, value=2.0) for one in "01"]
    metrics = endpoint_metrics([*samples(), second, *running])
    assert (metrics.engines, metrics.num_gpu_blocks, metrics.load.running) == (2, 900, 4)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e300])
def test_a_value_that_cannot_be_is_not_counted(value: float) -> None:
    assert endpoint_metrics(samples(num_requests_running=value)).load.running == 0


def test_a_server_that_is_not_vllm_is_refused() -> None:
    with pytest.raises(BadInput, match="has no line of vLLM"):
        endpoint_metrics([Sample(name="process_cpu_seconds_total", labels={}, value=1.0)])
    with pytest.raises(BadInput, match="has no vllm:cache_config_info"):
        endpoint_metrics(samples(num_requests_running=1)[1:])
