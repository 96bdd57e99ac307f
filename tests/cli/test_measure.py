"""``tonnage measure``: logs and endpoints as they come, the document, exit codes, and every refusal in one line."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.adapters import endpoint
from cli.adapters.endpoint import read_endpoint, samples, server_address
from sizing.errors import BadInput
from tests.cli.conftest import Tonnage

DATA = Path(__file__).resolve().parent.parent / "data"
USAGE = str(DATA / "startup-logs" / "v0.26.1-usage.log")
MODEL = ("--model", "Qwen/Qwen3-30B-A3B-Instruct-2507")
METRICS = (DATA / "metrics" / "v0.32.0-cpu.txt").read_bytes()
MODELS = b'{"object":"list","data":[{"id":"tiny","root":"tiny","max_model_len":2048}]}'
VERSION = b'{"version":"0.32.0"}'
TERMS = ["weights_gib", "peak_activation_gib", "non_torch_gib", "cuda_graph_gib", "kv_cache_gib", "kv_tokens",
         "max_concurrency"]  # fmt: skip
TINY = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 128, "intermediate_size": 256,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 1024,
    "max_position_embeddings": 4096, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "attention_bias": False,
}  # fmt: skip


def test_a_log_of_an_engine_as_predicted_changes_nothing(tonnage: Tonnage) -> None:
    called = tonnage("measure", "--log", USAGE, *MODEL, "--format", "json")
    document = called.document
    assert called.code == 0
    assert (document["schema"], document["change"], document["reasons"], document["source"]) == (1, False, [], "log")
    assert [term["name"] for term in document["terms"]] == TERMS
    cache = document["terms"][4]
    assert (cache["measured"], cache["unit"], cache["inside"]) == (13.84, "GiB", True)
    assert cache["difference"] == pytest.approx(cache["measured"] - cache["predicted"], abs=0.002)
    assert document["inputs"]["gpu"] == {"value": "A100-80GB", "source": "the log names NVIDIA_A100-SXM4-80GB"}
    assert document["inputs"]["max_num_seqs"] == {"value": 16, "source": "log"}
    assert document["seconds"]["init_engine"] == 36.21
    assert document["load"] is None


def test_a_contradicted_plan_is_a_clear_no(tonnage: Tonnage, tmp_path: Path) -> None:
    text = Path(USAGE).read_text().replace("cache memory: 13.84", "cache memory: 9.84").replace("151,216", "107,500")
    (tmp_path / "vllm.log").write_text(text)
    called = tonnage("measure", "--log", str(tmp_path / "vllm.log"), *MODEL, "--format", "json")
    assert called.code == 3
    assert "measured KV cache is 4." in called.document["reasons"][0]
    assert called.document["actions"] == ["max_num_seqs 16 -> 8"]


@pytest.mark.parametrize("output_format", ["text", "markdown"])
def test_text_and_markdown_name_every_term_and_the_verdict(tonnage: Tonnage, output_format: str) -> None:
    called = tonnage("measure", "--log", USAGE, *MODEL, "--format", output_format)
    for word in ("weights", "activations", "non-torch", "CUDA graphs", "KV cache, tokens", "no change", "151,216"):
        assert word in called.out
    log = str(DATA / "startup-logs" / "v0.27.1-lora-out-of-memory.log")
    called = tonnage("measure", "--log", log, "--gpu", "RTX-4090", "--format", output_format)
    assert "the stack should change: the engine did not start" in " ".join(called.out.split())
    assert called.code == 3


def test_standard_input_is_a_log(tonnage: Tonnage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(Path(USAGE).read_bytes())))
    called = tonnage("measure", "--log", "-", *MODEL, "--format", "json")
    assert called.document["terms"][5]["measured"] == 151_216


def test_options_say_what_the_log_does_not(tonnage: Tonnage) -> None:
    options = ("--gpu", "H100", "--max-num-seqs", "64", "--gpu-total-gib", "78.5", "--vllm-version", "0.30.0")
    document = tonnage("measure", "--log", USAGE, *MODEL, *options, "--format", "json").document
    assert document["inputs"]["gpu"] == {"value": "H100", "source": "stated"}
    assert document["inputs"]["gpu_total_gib"] == {"value": 78.5, "source": "stated"}
    assert document["inputs"]["max_num_seqs"] == {"value": 64, "source": "stated"}
    assert document["inputs"]["vllm_version"] == {"value": "0.30.0", "source": "stated"}


def test_a_stack_is_compared_with_the_engine_it_deployed(tonnage: Tonnage) -> None:
    called = tonnage("measure", "--log", USAGE, "--stack", "dev", "--format", "json")
    assert (called.document["stack"], called.document["model"], called.code) == (
        "dev", "meta-llama/Llama-3.1-8B-Instruct", 3,
    )  # fmt: skip
    assert any(one.startswith("the engine has 79.25 GiB a card (planned: ") for one in called.document["reasons"])


def test_a_stack_whose_engine_runs_as_planned_stays(tonnage: Tonnage, tmp_path: Path) -> None:
    plan = tonnage("measure", "--log", USAGE, "--stack", "dev", "--format", "json").document
    expected = {term["name"]: term["predicted"] for term in plan["terms"]}
    settings = {key: found["value"] for key, found in plan["inputs"].items()}
    width = settings["tensor_parallel"]
    tokens = round(expected["kv_cache_gib"] * 2**30 / 131_072 * width)  # bytes of a token of Llama-3.1-8B
    log = tmp_path / "vllm.log"
    log.write_text(
        f"(APIServer pid=1) INFO 1 [u.py:1] vLLM API server version {settings['vllm_version']}\n"
        f"(APIServer pid=1) INFO 1 [u.py:1] non-default args: {{'model': 'meta-llama/Llama-3.1-8B-Instruct', "
        f"'tensor_parallel_size': {width}, "
        f"'max_model_len': {settings['max_model_len']}, 'max_num_seqs': {settings['max_num_seqs']}}}\n"
        f"(EngineCore pid=2) INFO 1 [g.py:1] Model loading took {expected['weights_gib']} GiB memory and 9.0 seconds\n"
        f"(EngineCore pid=2) INFO 1 [g.py:1] Available KV cache memory: {expected['kv_cache_gib']:.2f} GiB\n"
        f"(EngineCore pid=2) INFO 1 [k.py:1] GPU KV cache size: {tokens:,} tokens\n"
    )
    called = tonnage("measure", "--log", str(log), "--stack", "dev", "--model", "chat", "--format", "json")
    assert (called.document["reasons"], called.code) == ([], 0)
    log.write_text(log.read_text().replace("'max_num_seqs': ", "'max_num_seqs': 1"))
    called = tonnage("measure", "--log", str(log), "--stack", "dev", "--format", "json")
    assert "the engine runs with max_num_seqs 1" in called.document["reasons"][0]
    assert called.code == 3


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "--log: give a log or an endpoint, one of both"),
        (("--log", USAGE, "--endpoint", "http://127.0.0.1:1"), "--log: give a log or an endpoint, one of both"),
        (("--log", "/nowhere/x.log"), "--log: '/nowhere/x.log' is not a file; hint: pipe what is none into --log -"),
        (("--log", "/dev/zero"), "--log: '/dev/zero' is not a file"),
        (("--log", str(DATA)), "is not a file"),
        (("--log", USAGE), "model: 'Qwen3-Coder-30B-A3B-Instruct', as the log calls it, is not in the catalogue"),
        (("--log", USAGE, *MODEL, "--gpu", "L5"), "gpu: 'L5' is unknown"),
        (("--log", USAGE, *MODEL, "--max-num-seqs", "0"), "--max-num-seqs: 0: input should be greater than"),
        (("--log", USAGE, *MODEL, "--gpu-total-gib", "-1"), "--gpu-total-gib: -1.0 is not a positive number"),
        (("--log", USAGE, "--stack", "dev", "--gpu", "L4"), "--gpu: the stack says it"),
        (("--log", USAGE, "--stack", "dev-cluster"), "--stack: dev-cluster serves no models"),
        (("--log", USAGE, "--stack", "prod"), "model: prod has several models; hint: name one with --model: "),
        (("--log", USAGE, "--stack", "none"), "stack: 'none' does not exist"),
        (("--endpoint", "file:///etc/passwd"), "--endpoint: 'file:///etc/passwd' is not an http or https address"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(tonnage: Tonnage, arguments: tuple[str, ...], line: str) -> None:
    called = tonnage("measure", *arguments)
    assert line in called.line
    assert called.code == 2


@pytest.mark.parametrize(
    "content",
    [b"", b"hello\n", b"\x00\x01" * 5000, b"\xff" * 5000, b"[" * 100_000, b'{"a":' * 100_000, b"\n" * 100_000],
    ids=["empty", "text", "binary", "bytes", "brackets", "nested", "lines"],
)
def test_what_is_no_log_is_refused_in_one_line(tonnage: Tonnage, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.log").write_bytes(content)
    called = tonnage("measure", "--log", str(tmp_path / "x.log"), *MODEL)
    assert called.line.startswith("log: ")
    assert called.code == 2


class Server(BaseHTTPRequestHandler):
    """A vLLM server: answers by path; ``answers`` is set by the test."""

    answers: dict[str, tuple[int, bytes]]

    def do_GET(self) -> None:
        code, content = self.answers.get(self.path, (404, b"{}"))
        self.send_response(code)
        if code in {301, 302}:
            self.send_header("Location", content.decode())
        self.end_headers()
        self.wfile.write(b"" if code in {301, 302} else content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(**answers: tuple[int, bytes]) -> Iterator[str]:
    known = {"/metrics": (200, METRICS), "/v1/models": (200, MODELS), "/version": (200, VERSION)}
    paths = {f"/{name}": answer for name, answer in answers.items()}
    handler = type("Handler", (Server,), {"answers": known | paths})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_real_metrics_of_0_32_are_read(tonnage: Tonnage, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    with serving() as address:
        called = tonnage("measure", "--endpoint", address, "--model", str(tmp_path), "--gpu", "L4", "--format", "json")
    document = called.document
    terms = {term["name"]: term["measured"] for term in document["terms"]}
    assert (terms["kv_tokens"], terms["max_concurrency"], terms["kv_cache_gib"]) == (1_048_576, 512.0, 1.0)
    assert document["inputs"]["max_model_len"] == {"value": 2048, "source": "endpoint"}
    assert document["inputs"]["vllm_version"] == {"value": "0.32.0", "source": "endpoint"}
    assert document["inputs"]["gpu_memory_utilization"] == {"value": 0.92, "source": "endpoint"}
    load = document["load"]
    assert (load["requests"], load["prompt_tokens"], load["generation_tokens"]) == (3, 120, 48)
    assert (load["running"], load["waiting"], load["kv_cache_usage"], load["prefix_hit_rate"]) == (0, 0, 0.0, 0.0)
    assert load["ttft"] == {"count": 3, "mean_ms": 29.6168, "p50_ms": 8.75, "p95_ms": 77.0}
    assert load["tpot"]["count"] == 45
    assert called.code == 3  # 1 GiB was stated for the cache of a card that has more
    assert "measured KV cache is" in document["reasons"][0]


def test_a_server_that_opens_its_metrics_alone_is_enough() -> None:
    with serving(version=(401, b""), **{"v1/models": (401, b"")}) as address:
        measured = read_endpoint(address + "/metrics/")
    assert (measured.vllm_version, measured.model, measured.settings["max_model_len"]) == (None, "tiny", 2048)


@pytest.mark.parametrize(
    ("answers", "line"),
    [
        ({"metrics": (404, b"")}, "/metrics answers 404"),
        ({"metrics": (500, b"")}, "/metrics answers 500"),
        ({"metrics": (200, b"")}, "has no line of vLLM"),
        ({"metrics": (200, b"<html></html>")}, "is not Prometheus text"),
        ({"metrics": (200, b"x " + b"9" * 400)}, "is not Prometheus text"),
        ({"metrics": (200, b"\xff\xfe")}, "is not Prometheus text"),
        ({"metrics": (200, b"x{a=1")}, "is not Prometheus text"),
        ({"metrics": (200, b"process_cpu_seconds_total 1\n")}, "has no line of vLLM"),
        ({"metrics": (302, b"file:///etc/passwd")}, "/metrics answers 302"),
        ({"metrics": (302, b"/metrics")}, "/metrics answers 302"),
        ({"metrics": (200, b"# " + b"x" * endpoint.LIMIT_BYTES)}, "sends too much; limit: 8 MiB"),
    ],
    ids=["missing", "broken", "empty", "page", "endless", "bytes", "cut", "other", "file", "loop", "large"],
)
def test_what_no_vllm_answers_is_one_line(tonnage: Tonnage, answers: dict[str, tuple[int, bytes]], line: str) -> None:
    with serving(**answers) as address:
        called = tonnage("measure", "--endpoint", address, "--gpu", "L4")
    assert called.line.lstrip("-").startswith("endpoint: ")
    assert line in called.line
    assert called.code == 2


def test_a_server_that_does_not_answer_is_one_line(tonnage: Tonnage) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    called = tonnage("measure", "--endpoint", f"http://127.0.0.1:{port}")
    assert "does not answer: [Errno 111] Connection refused" in called.line
    assert called.code == 2


def test_a_server_that_drips_bytes_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        begin = time.monotonic()

        def drip() -> None:
            client, _ = listener.accept()
            with client:
                try:
                    for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100:
                        client.send(bytes([byte]))
                        time.sleep(0.02)
                except OSError:
                    pass

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        with pytest.raises(BadInput, match=r"takes too long; limit: 0\.3 s"):
            read_endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.1)
        assert time.monotonic() - begin < 20


@pytest.mark.parametrize(
    ("address", "base"),
    [
        ("http://host:8000", "http://host:8000"),
        ("https://host/", "https://host"),
        ("http://host:8000/metrics", "http://host:8000"),
        ("http://[::1]:8000/chat/metrics?x=1#y", "http://[::1]:8000/chat"),
    ],
)
def test_an_address_is_that_of_the_server(address: str, base: str) -> None:
    assert server_address(address) == base


@pytest.mark.parametrize(
    "address",
    ["", "host:8000", "ftp://host", "file:///x", "http://", "http://host:port", "http://host:99999", "http://a b",
     "http://h\nx", "gopher://h", "http://user:secret@host", "http://host:0", "x" * 5000],
)  # fmt: skip
def test_an_address_that_cannot_be_is_refused(address: str) -> None:
    with pytest.raises(BadInput) as refusal:
        server_address(address)
    assert "secret" not in refusal.value.line()


@given(st.one_of(st.binary(max_size=300), st.text('vllm:{}=",\\ 0.1\n#TYPEHelp_lenaiu+-', max_size=200)))
def test_any_metrics_are_read_or_refused(content: bytes | str) -> None:
    try:
        samples(content if isinstance(content, bytes) else content.encode())
    except BadInput as refusal:
        assert refusal.where == "--endpoint"  # noqa: PT017 (only refused or read)
