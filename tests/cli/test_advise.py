"""``tonnage advise``: a server scraped twice, a log, the diff in the stack's keys, exit codes and refusals."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.cli.conftest import Tonnage
from tests.support.metrics import metrics

DATA = Path(__file__).resolve().parent.parent / "data"
SHORT = ("--interval", "0.2", "--replicas", "1")


@contextmanager
def serving(*scrapes: str, version: int = 404) -> Iterator[str]:
    """Serve each text once at /metrics, the last one from then on."""
    left = list(scrapes)

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/metrics"
            self.send_response(200 if known else version)
            self.end_headers()
            if known:
                self.wfile.write((left.pop(0) if len(left) > 1 else left[0]).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_quiet_replica_of_prod_proposes_less_in_the_keys_of_the_stack(tonnage: Tonnage) -> None:
    with serving(metrics(20_000, kv_tokens=200_000)) as address:
        called = tonnage(
            "advise", "prod", "--endpoint", address, "--model", "chat", "--interval", "0.5", "--replicas", "1",
            "--format", "json",
        )  # fmt: skip
    document = called.document
    assert called.code == 3
    assert (document["schema"], document["stack"], document["model"]) == (1, "prod", "chat")
    assert document["advice"] == "change"
    assert [row["key"] for row in document["changes"]] == ["workload.requestsPerSecond"]
    assert document["saving_usd_per_month"] >= 0
    assert document["proposed_entry"]["replicas"] == {"floor": 2}
    assert called.err == "two scrapes, 0.5 s apart\n"


def test_what_is_served_names_the_entry_and_traffic_as_planned_keeps_it(tonnage: Tonnage) -> None:
    first, second = metrics(20_000, kv_tokens=200_000), metrics(20_006, kv_tokens=200_000)
    with serving(first, second) as address:
        called = tonnage("advise", "prod", "--endpoint", address, "--interval", "0.5", "--replicas", "1",
                         "--format", "json")  # fmt: skip
    assert (called.document["advice"], called.document["changes"], called.code) == ("keep", [], 0)
    assert called.document["model"] == "chat"


@pytest.mark.parametrize("output_format", ["text", "markdown"])
def test_text_and_markdown_show_the_diff(tonnage: Tonnage, output_format: str) -> None:
    scrapes = metrics(20_000, output_tokens=620), metrics(20_006, output_tokens=620)
    with serving(*scrapes) as address:
        called = tonnage("advise", "prod", "--endpoint", address, "--model", "chat", "--interval", "0.5",
                         "--replicas", "1", "--format", output_format)  # fmt: skip
    lines = [line.rstrip() for line in called.out.splitlines()]
    assert "-      outputTokens: 250" in lines
    assert "+      outputTokens: 620" in lines
    assert "output tokens are 620, planned 250" in called.out
    assert called.code == 3


def test_no_stack_file_is_edited(tonnage: Tonnage) -> None:
    folder = Path(__file__).resolve().parents[2] / "stacks"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with serving(metrics(500), metrics(500)) as address:
        tonnage("advise", "dev", "--endpoint", address, *SHORT)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_log_is_advised_upon(tonnage: Tonnage, tmp_path: Path) -> None:
    log = tmp_path / "vllm.log"
    stats = (
        "INFO 11-21 15:{:02d}:00 [loggers.py:259] Engine 000: Avg prompt throughput: 90.0 tokens/s, "
        "Avg generation throughput: 62.0 tokens/s, Running: 1 reqs, Waiting: 0 reqs, GPU KV cache usage: 1.0%\n"
    )
    answer = 'INFO:     10.0.0.7:41 - "POST /v1/chat/completions HTTP/1.1" 200 OK\n'
    log.write_text(
        "(APIServer pid=1) INFO 1 [u.py:1] vLLM API server version 0.32.0\n"
        "(APIServer pid=1) INFO 1 [u.py:1] non-default args: {'model': 'meta-llama/Llama-3.1-8B-Instruct'}\n"
        "(EngineCore pid=2) INFO 1 [k.py:1] GPU KV cache size: 203,184 tokens\n"
        + "".join(stats.format(minute) + answer * 6 for minute in range(50))
    )
    called = tonnage("advise", "prod", "--log", str(log), "--replicas", "1", "--format", "json")
    found = {one["name"]: one["measured"] for one in called.document["findings"]}
    assert found["requests_per_second"] == 0.1
    assert (found["input_tokens"], found["output_tokens"], found["kv_tokens"]) == (900.0, 620.0, 203_184)
    assert called.code == 3


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("dev",), "--endpoint: give an endpoint or a log, one of both"),
        (("dev", "--log", "x", "--endpoint", "http://h"), "--endpoint: give an endpoint or a log, one of both"),
        (("dev", "--log", "/nowhere"), "--log: '/nowhere' is not a file"),
        (("dev", "--log", "/dev/zero"), "is not a file"),
        (("dev", "--endpoint", "file:///etc/passwd"), "--endpoint: 'file:///etc/passwd' is not an http or https"),
        (("dev", "--endpoint", "http://u:secret@h"), "--endpoint: the address holds credentials"),
        (("dev", "--endpoint", "http://h", "--interval", "0"), "--interval: 0 is not usable"),
        (("dev", "--endpoint", "http://h", "--interval", "nan"), "--interval: nan is not usable"),
        (("dev", "--endpoint", "http://h", "--interval", "1e9"), "--interval: 1e+09 is not usable"),
        (("dev", "--endpoint", "http://h", "--replicas", "0"), "--replicas"),
        (("none", "--endpoint", "http://h"), "stack: 'none' does not exist"),
        (("dev-cluster", "--endpoint", "http://h"), "stack: dev-cluster serves no models"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(tonnage: Tonnage, arguments: tuple[str, ...], line: str) -> None:
    called = tonnage("advise", *arguments)
    assert line in called.line
    assert "secret" not in called.err
    assert called.code == 2


@pytest.mark.parametrize(
    ("scrapes", "arguments", "line"),
    [
        ((metrics(100), metrics(50)), (), "endpoint: vllm:"),
        (("hello 1\n",), (), "endpoint: its /metrics has no line of vLLM"),
        (("<html>",), (), "--endpoint: /metrics is not Prometheus text"),
        (
            (metrics(100),),
            ("--model", "nobody"),
            "model: 'nobody' is not in stack dev; hint: name one with --model",
        ),
        ((metrics(100, model="Qwen/Qwen3-8B"),), (), "model: the engine serves Qwen/Qwen3-8B, chat is meta-llama/"),
    ],
    ids=["two servers", "no vllm", "page", "no entry", "other model"],
)
def test_what_cannot_be_compared_is_one_line(
    tonnage: Tonnage, scrapes: tuple[str, ...], arguments: tuple[str, ...], line: str
) -> None:
    with serving(*scrapes) as address:
        called = tonnage("advise", "dev", "--endpoint", address, *SHORT, *arguments)
    assert called.err.splitlines()[-1].startswith(line)
    assert (called.code, called.out) == (2, "")


def test_the_document_is_the_same_at_every_call(tonnage: Tonnage, tmp_path: Path) -> None:
    log = tmp_path / "vllm.log"
    log.write_text("(EngineCore pid=2) INFO 1 [k.py:1] GPU KV cache size: 40,000 tokens\n")
    called = [tonnage("advise", "dev", "--log", str(log), "--format", "json") for _ in range(2)]
    assert called[0].out == called[1].out
    assert json.loads(called[0].out)["advice"] == "keep"
