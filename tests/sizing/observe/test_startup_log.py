"""Start-up logs: each wording on an excerpt of a real log, and what no log may do to the reader."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sizing.errors import BadInput
from sizing.observe.logs.lines import LONGEST_LINE, log_lines
from sizing.observe.logs.startup_log import StartupLog, parse_startup_log

LOGS = Path(__file__).resolve().parents[2] / "data" / "startup-logs"
USAGE = "v0.26.1-usage.log"


def read(name: str) -> StartupLog:
    return parse_startup_log([(LOGS / name).read_bytes()])


def of(text: str) -> StartupLog:
    return parse_startup_log([text.encode()])


@pytest.mark.parametrize("path", sorted(LOGS.glob("*.log")), ids=lambda path: path.name)
def test_every_excerpt_names_its_source_and_is_read(path: Path) -> None:
    assert path.read_text().startswith("# source: ")
    log = read(path.name)
    printed = re.match(r"v(\d+\.\d+\.\d+(\.post\d)?)", path.name)
    if log.vllm_version is not None and printed is not None:
        assert log.vllm_version.startswith(printed[1])


def test_v0_6_3_with_four_ranks() -> None:
    log = read("v0.6.3.post1-tp4.log")
    assert (log.vllm_version, log.engine, log.model) == ("0.6.3.post1", "V0", "/models/Qwen2.5-32B-Instruct")
    assert len(log.ranks) == 4
    assert (log.most("weights_gib"), log.num_gpu_blocks, log.max_concurrency) == (15.3916, 2987, 1.46)
    assert (log.max_concurrency_tokens, log.graph_capture_s, log.started) == (32768, 28.0, True)
    assert log.arguments["tensor_parallel_size"] == 4
    assert log.arguments["max_num_seqs"] == 256
    assert log.arguments["gpu_memory_utilization"] == 0.9
    assert log.arguments["enforce_eager"] is False
    assert "max_num_batched_tokens" not in log.arguments  # printed as None


def test_the_profile_line_of_v0() -> None:
    (rank,) = read("v0.6.6-profile.log").ranks
    assert (rank.total_gib, rank.requested_gib) == (79.22, 71.29)
    assert (rank.weights_gib, rank.non_torch_gib, rank.peak_activation_gib) == (19.86, 0.16, 36.63)
    assert rank.kv_cache_gib == 14.65
    assert read("v0.6.6-profile.log").num_gpu_blocks == 6001


def test_the_profile_line_of_0_6_4_holds_the_weights_in_its_peak() -> None:
    log = of(
        "INFO 12-06 17:07:09 model_runner.py:1077] Loading model weights took 0.2389 GB\n"
        "INFO 12-06 17:07:09 worker.py:232] Memory profiling results: total_gpu_memory=7.92GiB "
        "initial_memory_usage=0.65GiB peak_torch_memory=0.71GiB memory_usage_post_profile=0.68GiB "
        "non_torch_memory=0.43GiB kv_cache_size=5.99GiB gpu_memory_utilization=0.90\n"
    )
    (rank,) = log.ranks
    assert (rank.peak_activation_gib, rank.non_torch_gib, rank.kv_cache_gib) == (0.4711, 0.43, 5.99)
    assert log.arguments["gpu_memory_utilization"] == 0.9


def test_workers_of_v0_are_told_apart_by_their_process() -> None:
    ranks = read("v0.8.5-tp8-ranks.log").ranks
    assert [rank.rank for rank in ranks] == ["VllmWorkerProcess pid=507", "VllmWorkerProcess pid=577"]
    assert {(rank.kv_cache_gib, rank.total_gib, rank.requested_gib) for rank in ranks} == {(1.57, 23.58, 23.35)}


def test_v1_before_it_printed_its_cache() -> None:
    log = read("v0.8.5-v1.log")
    assert (log.most("weights_gib"), log.kv_tokens, log.max_concurrency) == (14.9889, 158_656, 4.84)
    assert (log.load_weights_s, log.compile_s, log.least("kv_cache_gib")) == (2.95, 6.41, None)


def test_v0_10_with_lines_that_a_terminal_wrapped() -> None:
    log = read("v0.10.1.1-tp2-wrapped.log")
    assert (log.vllm_version, log.engine, log.model) == ("0.10.1.1", "V1", "Qwen2-7B-Instruct")
    assert log.arguments["tensor_parallel_size"] == 2
    assert log.arguments["max_model_len"] == 16384
    assert log.arguments["max_num_batched_tokens"] == 2048
    assert [rank.rank for rank in log.ranks] == ["VllmWorker TP0", "VllmWorker TP1"]
    assert (log.most("weights_gib"), log.least("kv_cache_gib"), log.most("cuda_graph_gib")) == (7.1217, 31.83, 0.65)
    assert (log.kv_tokens, log.num_gpu_blocks, log.max_concurrency) == (1_192_160, 74_510, 72.76)
    assert (log.init_engine_s, log.load_weights_s, log.ready) == (25.78, 2.65, True)


def test_v0_12_names_the_card_by_a_missing_kernel_configuration() -> None:
    log = read("v0.12.0-tp2.log")
    assert (log.gpu_name, log.most("cuda_graph_gib")) == ("NVIDIA_H100_80GB_HBM3", -0.26)
    assert (log.most("weights_gib"), log.least("kv_cache_gib"), log.kv_tokens) == (28.4571, 41.68, 910_464)


def test_v0_15_of_a_hybrid() -> None:
    log = read("v0.15.1-tp2.log")
    assert (log.vllm_version, log.architecture) == ("0.15.1", "GptOssForCausalLM")
    assert log.arguments["quantization"] == "mxfp4"
    assert (log.kv_tokens, log.max_concurrency, log.max_concurrency_tokens) == (2_269_888, 32.56, 131_072)


def test_v0_20_with_graphs_outside_the_budget() -> None:
    log = read("v0.20.2-tp8-dcp4.log")
    assert log.graphs_in_budget is False
    assert log.arguments["decode_context_parallel_size"] == 4
    assert log.arguments["kv_cache_dtype"] == "fp8"
    assert (log.most("cuda_graph_estimate_gib"), log.least("kv_cache_gib")) == (4.98, 19.47)
    assert [rank.rank for rank in log.ranks] == ["Worker_TP0_DCP0", "Worker_TP5_DCP1"]


def test_v0_25_raises_its_batch_for_video() -> None:
    log = read("v0.25.1-gemma4.log")
    assert (log.arguments["max_num_batched_tokens"], log.checkpoint_gib) == (2496, 15.3)
    assert (log.graphs_in_budget, log.most("cuda_graph_estimate_gib")) == (True, 0.13)
    assert (log.kv_tokens, log.max_concurrency, log.most("weights_gib")) == (3_912_140, 14.92, 15.88)


def test_v0_26_prints_sums_that_are_taken_apart() -> None:
    log = read(USAGE)
    (rank,) = log.ranks
    assert (rank.free_gib, rank.total_gib, rank.requested_gib) == (78.84, 79.25, 71.33)
    assert (rank.weights_gib, rank.non_torch_gib) == (56.93, 0.33)  # 57.26 together
    assert (rank.peak_activation_gib, rank.cuda_graph_estimate_gib) == (0.08, 0.15)  # 0.23 together
    assert (rank.cuda_graph_gib, rank.kv_cache_gib) == (0.11, 13.84)
    assert (log.gpu_name, log.kv_tokens, log.max_concurrency) == ("NVIDIA_A100-SXM4-80GB", 151_216, 1.15)
    assert (log.init_engine_s, log.compile_s, log.graph_capture_s) == (36.21, 11.84, 4.0)
    assert log.started


def test_usage_by_term_as_versions_up_to_0_26_print_it() -> None:
    log = of(
        "(Worker_TP2_EP2 pid=4155526) INFO 08-20 17:28:08 [gpu_worker.py:857] Free memory on device "
        "(181.84/184.31 GiB) on startup. Desired GPU memory utilization is (0.92, 169.56 GiB). "
        "Actual usage is 106.69 GiB for weight, "
        "6.31 GiB for peak activation, 0.95 GiB for non-torch memory, and 4.13 GiB for CUDAGraph memory. Current kv "
        "cache memory in use is 54351712256 bytes.\n"
    )
    (rank,) = log.ranks
    assert (rank.weights_gib, rank.peak_activation_gib, rank.non_torch_gib) == (106.69, 6.31, 0.95)
    assert (rank.cuda_graph_gib, rank.total_gib, rank.requested_gib) == (4.13, 184.31, 169.56)
    assert rank.kv_cache_gib == pytest.approx(50.62, abs=0.005)


def test_what_0_32_prints_at_the_level_debug() -> None:
    log = of(
        "(EngineCore pid=7) DEBUG 10-05 04:10:59 [gpu_worker.py:748] Initial free memory: 78.84 GiB; Requested memory: "
        "0.900000 (util), 71.33 GiB\n"
        "(EngineCore pid=7) DEBUG 10-05 04:10:59 [gpu_worker.py:758] Memory profiling takes 3.20 seconds. Total non KV "
        "cache memory: 57.49GiB; torch peak memory increase: 0.08GiB; total consumed (from mem_get_info): 57.26GiB; "
        "weights memory: 56.93GiB.\n"
    )
    (rank,) = log.ranks
    assert (rank.free_gib, rank.requested_gib, log.arguments["gpu_memory_utilization"]) == (78.84, 71.33, 0.9)
    assert (rank.weights_gib, rank.non_torch_gib, rank.peak_activation_gib) == (56.93, 0.33, 0.08)


def test_v0_32_on_a_processor_prints_capacity_on_one_line() -> None:
    log = read("v0.32.0-cpu.log")
    assert (log.vllm_version, log.engine, log.device, log.model) == ("0.32.0", "V1", "CPU", "tiny")
    assert (log.kv_tokens, log.max_concurrency, log.max_concurrency_tokens) == (1_048_576, 512.0, 2048)
    assert (log.least("kv_cache_gib"), log.init_engine_s, log.ready) == (1.0, 4.15, True)
    assert log.arguments["enforce_eager"] is True
    assert log.arguments["max_num_seqs"] == 8


def test_a_request_that_does_not_fit() -> None:
    log = read("v0.15.2-pp2-refused.log")
    assert [failure.kind for failure in log.failures] == ["kv_cache"]
    assert (log.kv_needed_gib, log.least("kv_cache_gib"), log.longest_model_len) == (24.0, 3.18, 34_736)
    assert log.arguments["max_model_len"] == 262_144
    assert not log.started
    older = read("v0.8-refused.log")
    assert (older.kv_needed_gib, older.least("kv_cache_gib"), older.longest_model_len) == (24.0, 9.97, None)


def test_a_request_that_does_not_fit_in_v0() -> None:
    log = of(
        "ERROR 03-25 21:32:48 engine.py:387] The model's max seq len (131072) is larger than the maximum number of "
        "tokens that can be stored in KV cache (37696). Try increasing `gpu_memory_utilization`\n"
    )
    assert (log.failures[0].kind, log.longest_model_len, log.arguments["max_model_len"]) == (
        "kv_cache",
        37_696,
        131_072,
    )


def test_a_card_that_others_use() -> None:
    log = read("v0.9.1-busy-card.log")
    (rank,) = log.ranks
    assert (rank.free_gib, rank.total_gib, rank.requested_gib) == (31.44, 47.38, 45.01)
    assert [failure.kind for failure in log.failures] == ["gpu_memory_utilization"]  # not the mere end of the engine


def test_out_of_memory() -> None:
    log = read("v0.27.1-lora-out-of-memory.log")
    assert (log.failures[0].kind, log.ranks[0].total_gib) == ("out_of_memory", 23.52)
    assert (log.kv_tokens, log.started) == (93_632, False)
    assert log.arguments["enable_lora"] is True
    assert read("v0.8.0-out-of-memory.log").ranks[0].total_gib == 23.57


def test_out_of_memory_under_load_is_no_failure_to_start() -> None:
    died = (
        "(EngineCore pid=1) ERROR 1 [core.py:1] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.5 GiB\n"
    )
    log = of((LOGS / USAGE).read_text() + "INFO:     Application startup complete.\n" + died)
    assert ([failure.kind for failure in log.failures], log.started) == (["out_of_memory_while_serving"], True)


def test_a_cache_below_nothing() -> None:
    log = of(
        "(EngineCore pid=129) INFO 07-01 04:24:37 [gpu_worker.py:480] Available KV cache memory: -14.28 GiB\n"
        "(EngineCore pid=129) ERROR 07-01 04:24:37 [core.py:1195] ValueError: No available memory for the cache "
        "blocks.\n"
    )
    assert (log.least("kv_cache_gib"), log.failures[0].kind) == (-14.28, "kv_cache")


WRAPPERS = {
    "as it is": lambda text: text,
    "windows": lambda text: text.replace("\n", "\r\n"),
    "docker": lambda text: "".join(f"2026-05-14T12:35:46.867123456Z {line}\n" for line in text.splitlines()),
    "docker desktop": lambda text: "".join(f"2026-05-14 12:35:46.867 | {line}\n" for line in text.splitlines()),
    "containerd": lambda text: "".join(f"2026-05-14T12:35:46.8Z stderr F {line}\n" for line in text.splitlines()),
    "kubectl": lambda text: "".join(f"[pod/chat-7d9-x2/vllm] {line}\n" for line in text.splitlines()),
    "compose": lambda text: "".join(f"vllm-1  | {line}\n" for line in text.splitlines()),
    "journald": lambda text: "".join(f"Aug 18 14:15:02 host python3[281]: {line}\n" for line in text.splitlines()),
    "colours": lambda text: re.sub(r"(?m)^(\([^)]*\))", "\x1b[1;36m\\1\x1b[0;0m", text),
    "json of docker": lambda text: "".join(json.dumps({"log": line + "\n"}) + "\n" for line in text.splitlines()),
    "json of vllm": lambda text: "".join(json.dumps({"message": line, "n": 1}) + "\n" for line in text.splitlines()),
    "otlp": lambda text: "".join(json.dumps({"body": {"stringValue": line}}) + "\n" for line in text.splitlines()),
    "progress bar": lambda text: text.replace("\n(", "\nCapturing:  50%|##  | 1/2\rCapturing: 100%|####| 2/2\r("),
    "one start twice": lambda text: text + text,
}


@pytest.mark.parametrize("wrapper", sorted(WRAPPERS))
@pytest.mark.parametrize("name", [USAGE, "v0.6.3.post1-tp4.log", "v0.20.2-tp8-dcp4.log"])
def test_what_collectors_and_terminals_do_to_a_log_changes_nothing(name: str, wrapper: str) -> None:
    from dataclasses import replace

    text = (LOGS / name).read_text()
    assert replace(of(WRAPPERS[wrapper](text)), starts=1) == read(name)


def test_lines_of_a_server_at_work_say_nothing() -> None:
    at_work = (
        "(APIServer pid=1) INFO 1 [loggers.py:1] Engine 000: Avg prompt throughput: 12.0 tokens/s, Avg generation "
        "throughput: 8.0 tokens/s, Running: 1 reqs, Waiting: 0 reqs, GPU KV cache usage: 0.1%\n"
        'INFO:     10.0.0.1:3498 - "POST /v1/chat/completions HTTP/1.1" 200 OK\n'
    )
    assert of((LOGS / USAGE).read_text() + at_work * 100) == read(USAGE)


def test_utf_16_as_a_shell_of_windows_writes_it() -> None:
    text = (LOGS / USAGE).read_text()
    assert parse_startup_log([text.encode("utf-16")]) == read(USAGE)


@settings(max_examples=30)
@given(st.lists(st.integers(1, 9000), max_size=30))
def test_the_cut_of_the_chunks_changes_nothing(sizes: list[int]) -> None:
    data, chunks = (LOGS / USAGE).read_bytes(), []
    for size in sizes:
        chunks.append(data[:size])
        data = data[size:]
    assert parse_startup_log([*chunks, data]) == read(USAGE)


@given(st.integers(0, 12_000))
def test_a_log_cut_anywhere_gives_a_part_of_the_figures_or_a_refusal(length: int) -> None:
    whole = read(USAGE)
    try:
        part = parse_startup_log([(LOGS / USAGE).read_bytes()[:length]])
    except BadInput:
        return
    assert part.kv_tokens in {None, whole.kv_tokens}
    assert part.most("weights_gib") in {None, 56.93}
    assert part.least("kv_cache_gib") in {None, 13.84}
    assert part.arguments.items() <= whole.arguments.items()


def test_the_last_start_with_figures_counts() -> None:
    first, second = ((LOGS / name).read_text() for name in ("v0.27.1-lora-out-of-memory.log", USAGE))
    again = of(first + second + "(APIServer pid=1) INFO 08-05 12:12:24 [a.py:1] vLLM API server version 0.26.1\n")
    assert (again.kv_tokens, again.failures, again.starts) == (151_216, (), 3)
    assert of(second + first).failures[0].kind == "out_of_memory"


def test_engines_of_data_parallelism_are_one_start_and_the_smallest_capacity_counts() -> None:
    log = of(
        "(EngineCore_DP0 pid=1) INFO 1 [core.py:1] Initializing a V1 LLM engine (v0.19.0) with config: model='m', "
        "data_parallel_size=2, tensor_parallel_size=1, x=1\n"
        "(EngineCore_DP0 pid=1) INFO 1 [w.py:1] Available KV cache memory: 8.00 GiB\n"
        "(EngineCore_DP0 pid=1) INFO 1 [k.py:1] GPU KV cache size: 1,000 tokens\n"
        "(EngineCore_DP1 pid=2) INFO 1 [core.py:1] Initializing a V1 LLM engine (v0.19.0) with config: model='m', "
        "data_parallel_size=2, tensor_parallel_size=1, x=1\n"
        "(EngineCore_DP1 pid=2) INFO 1 [w.py:1] Available KV cache memory: 7.50 GiB\n"
        "(EngineCore_DP1 pid=2) INFO 1 [k.py:1] GPU KV cache size: 900 tokens\n"
    )
    assert (log.starts, len(log.ranks), log.least("kv_cache_gib"), log.kv_tokens) == (1, 2, 7.5, 900)


def test_a_worker_keeps_its_figures_when_it_learns_its_rank() -> None:
    log = of(
        "(Worker pid=350) INFO 1 [g.py:1] Model loading took 1.5 GiB memory and 2.0 seconds\n"
        "(Worker_TP3 pid=350) INFO 1 [g.py:1] Available KV cache memory: 8.00 GiB\n"
        "(RayWorkerWrapper pid=350, ip=10.0.0.2) INFO 1 [g.py:1] Available KV cache memory: 9.00 GiB\n"
    )
    assert [(rank.rank, rank.weights_gib, rank.kv_cache_gib) for rank in log.ranks] == [
        ("Worker_TP3", 1.5, 8.0),
        ("RayWorkerWrapper pid=350, ip=10.0.0.2", None, 9.0),
    ]


def test_a_draft_model_of_v0_adds_its_weights() -> None:
    log = of(
        "INFO 1 llm_engine.py:237] Initializing an LLM engine (v0.6.3) with config: model='big', "
        "speculative_config=SpeculativeConfig(draft_model='small', num_spec_tokens=5), tensor_parallel_size=1, x=1\n"
        "INFO 1 api_server.py:1] args: Namespace(model='big', speculative_model='small', num_speculative_tokens=5)\n"
        "INFO 1 model_runner.py:1] Loading model weights took 15.0 GB\n"
        "INFO 1 model_runner.py:1] Loading model weights took 0.5 GB\n"
    )
    assert log.most("weights_gib") == 15.5
    assert (log.model, log.arguments["num_speculative_tokens"]) == ("big", 5)


def test_speculation_of_v1_is_read_and_its_model_is_not_mistaken_for_the_served_one() -> None:
    log = of(
        "(APIServer pid=1) INFO 1 [utils.py:1] non-default args: {'speculative_config': {'model': 'draft', 'method': "
        "'mtp', 'num_speculative_tokens': 3}, 'model': 'served', 'max_model_len': 4096}\n"
        "(APIServer pid=1) INFO 1 [utils.py:1] vLLM API server version 0.19.0\n"
    )
    assert log.arguments == {
        "max_model_len": 4096, "model": "served", "num_speculative_tokens": 3, "speculative_method": "mtp",
    }  # fmt: skip


@pytest.mark.parametrize(
    "pair",
    ["'block_size': 'e'", "'max_model_len': 1e5", "'max_num_seqs': 99999999999999999", "'enforce_eager': 3",
     "'gpu_memory_utilization': 1e400", "'data_parallel_size': None", "'tensor_parallel_size': -1", "'model': ''"],
)  # fmt: skip
def test_an_argument_of_another_kind_is_not_stated(pair: str) -> None:
    log = of(f"INFO 1 [u.py:1] non-default args: {{{pair}, 'dtype': 'auto'}}\nvLLM API server version 0.9.1\n")
    assert log.arguments == {"dtype": "auto"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "none of its"),
        (b"hello\nworld\n", "none of its 2 lines is of a vLLM start-up"),
        (b"\x7fELF\x00\x00", "holds zero bytes"),
        (b"\x1f\x8b\x08\x00" + bytes(range(256)), "holds zero bytes"),
        (b"CUDA out of memory. Tried to allocate 1.00 GiB. GPU 0 has a total capacity of 23.57 GiB\n", "none of its"),
        (b'{"a":' * 20_000, "none of its"),
        (b"[" * 200_000, "none of its"),
        (b"(a pid=" * 50_000, "none of its"),
    ],
    ids=["empty", "text", "binary", "gzip", "another program", "nested", "brackets", "prefixes"],
)
def test_what_is_no_log_of_vllm_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(BadInput, match=reason) as refusal:
        parse_startup_log([content])
    assert refusal.value.exit_code == 2


def test_a_log_beyond_the_limit_is_refused_while_it_is_read() -> None:
    chunk = b"x" * (1 << 20)
    with pytest.raises(BadInput, match="256 MiB"):
        parse_startup_log(chunk for _ in range(1 << 30))


def test_a_line_without_end_is_cut_and_the_next_one_is_read() -> None:
    lines = list(log_lines([b"x" * 100_000, b"y" * 100_000 + b"\nnext\n"]))
    assert [len(line) for line in lines] == [LONGEST_LINE, 4]


WORDS = st.sampled_from(
    [
        "(Worker_TP0 pid=1) ", "INFO 08-05 12:12:24 [a.py:1] ", "Model loading took ", "1.5 GiB", "999999999", ".", "-",
        "non-default args: {", "Namespace(", "'model': '", "'max_model_len': ", "speculative_config=", "\n", "\r", "{",
        "Initializing a V1 LLM engine (v0.", ") with config: ", "Maximum concurrency for ", " tokens per request: ",
        "GPU KV cache size: ", ",,,,", " tokens", "torch.compile takes ", " s in total", "CUDA out of memory. Tried",
        "# GPU blocks: ", '{"message": "', '"}', "\\", "'", '"', "(", ")", "max seq len (", "GiB KV cache is needed",
        "model weights take 1GiB; non_torch_memory takes ", "Actual usage is ", "version ", "█  version ", "\x1b[0m",
    ]
)  # fmt: skip


@given(st.one_of(st.binary(max_size=2000), st.lists(WORDS, max_size=60).map(lambda words: "".join(words).encode())))
def test_any_bytes_are_read_or_refused_as_bad_input(data: bytes) -> None:
    try:
        log = parse_startup_log([data])
    except BadInput:
        return
    for rank in log.ranks:
        for value in (rank.weights_gib, rank.kv_cache_gib, rank.total_gib):
            assert value is None or abs(value) < 1e10


def test_the_time_grows_with_the_size_and_not_faster() -> None:
    from time import process_time

    def seconds(repeats: int) -> float:
        data = ("(a pid=1) args: {'model': '" * 40 + "\n").encode() * repeats
        begin = process_time()
        with pytest.raises(BadInput):
            parse_startup_log([data])
        return process_time() - begin

    seconds(10)
    assert seconds(800) < 40 * max(seconds(100), 0.005)
