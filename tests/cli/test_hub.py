"""Checkpoints of a Hub on loopback: headers by range, index alone, redirects, and a Hub that lies or stalls."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cli.adapters import hub
from cli.adapters.sources import find_model
from sizing.catalogue import load_catalogue
from sizing.errors import BadInput

from .conftest import Tonnage

NAME = "someone/tiny"
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 128, "intermediate_size": 256, "torch_dtype": "bfloat16",
    "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 1024,
    "max_position_embeddings": 2048, "tie_word_embeddings": True,
}  # fmt: skip
LINEAR = {**{f"self_attn.{p}_proj": (128, 128) for p in "qkvo"}, "mlp.gate_proj": (256, 128), "mlp.up_proj": (256, 128),
          "mlp.down_proj": (128, 256)}  # fmt: skip
SHAPES = {
    "model.embed_tokens.weight": (1024, 128),
    "model.norm.weight": (128,),
    **{f"model.layers.0.{name}.weight": shape for name, shape in LINEAR.items()},
    "model.layers.0.input_layernorm.weight": (128,),
    "model.layers.0.post_attention_layernorm.weight": (128,),
}


def safetensors(names: list[str], dtype: str = "BF16") -> bytes:
    header, place = {}, 0
    for name in names:
        rows, *columns = SHAPES[name]
        size = rows * (columns[0] if columns else 1) * (2 if dtype == "BF16" else 1)
        header[name] = {"dtype": dtype, "shape": [rows, *columns], "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"\0" * place


BYTES = sum(rows[0] * (rows[1] if len(rows) > 1 else 1) * 2 for rows in SHAPES.values())
WHOLE = {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": safetensors(list(SHAPES))}
SHARDS = {"a.safetensors": list(SHAPES)[:4], "b.safetensors": list(SHAPES)[4:]}
SHARDED = {
    "config.json": json.dumps(CONFIG).encode(),
    "model.safetensors.index.json": json.dumps({
        "metadata": {"total_size": BYTES}, "weight_map": {n: file for file, names in SHARDS.items() for n in names},
    }).encode(),
    **{file: safetensors(names) for file, names in SHARDS.items()},
}  # fmt: skip


class Hub(ThreadingHTTPServer):
    """A Hub on loopback: ``files`` by name, ``asked`` as (file, range, credentials)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None, str | None]] = []
        self.ranges, self.location, self.drip_s = True, "", 0.0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        file, span = self.path.rpartition("/")[2], self.headers["Range"]
        self.server.asked.append((file, span, self.headers["Authorization"]))
        content = self.server.files.get(file)
        if content is None:
            self.send_error(404)
            return
        if self.server.location and file.endswith(".safetensors"):
            self.send_response(302)
            self.send_header("Location", self.server.location + file)
            self.end_headers()
            return
        part = content[: int(span.rpartition("-")[2]) + 1] if span and self.server.ranges else content
        self.send_response(206 if span and self.server.ranges else 200)
        self.send_header("Content-Length", str(len(part)))
        if span and self.server.ranges:
            self.send_header("Content-Range", f"bytes 0-{len(part) - 1}/{len(content)}")
        self.end_headers()
        step = 1 if self.server.drip_s else len(part) or 1
        with contextlib.suppress(OSError):  # the reader may have given up
            for at in range(0, len(part), step):
                self.wfile.write(part[at : at + step])
                time.sleep(self.server.drip_s)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("HF_TOKEN", "a-token")
        yield running
        running.shutdown()


def found():
    return find_model(NAME, load_catalogue())


@pytest.mark.parametrize("files", [WHOLE, SHARDED])
@pytest.mark.parametrize("ranges", [True, False])
def test_the_bytes_of_a_hub_model_are_read_from_the_headers_of_its_files(server, files, ranges):
    server.files, server.ranges = files, ranges
    assert found().checkpoint_bytes == BYTES
    assert {span for file, span, _ in server.asked if file.endswith(".safetensors")} == {"bytes=0-262143"}


def test_a_long_header_is_asked_for_again_as_a_whole(server, monkeypatch):
    monkeypatch.setattr(hub, "FIRST_RANGE_BYTES", 64)
    server.files = WHOLE
    assert found().checkpoint_bytes == BYTES
    assert next(span for file, span, _ in server.asked if file == "model.safetensors") == "bytes=0-63"


def test_with_too_many_files_the_index_alone_is_used(server, monkeypatch):
    monkeypatch.setattr(hub, "MOST_SHARDS", 1)
    server.files = SHARDED
    assert found().checkpoint_bytes == BYTES
    assert not any(file.endswith(".safetensors") for file, *_ in server.asked)


def test_a_model_without_safetensors_is_described_by_its_configuration(server):
    server.files = {"config.json": WHOLE["config.json"]}
    assert found().checkpoint_bytes is None


def test_the_token_stays_with_the_host_that_it_is_for(server):
    server.files = WHOLE
    with Hub() as storage:
        storage.files = WHOLE
        threading.Thread(target=storage.serve_forever, args=(0.01,), daemon=True).start()
        server.location = storage.address + "/"
        assert found().checkpoint_bytes == BYTES
        assert [credentials for _, _, credentials in storage.asked] == [None]
        storage.shutdown()
    assert {credentials for *_, credentials in server.asked} == {"Bearer a-token"}


@pytest.mark.parametrize("location", ["file:///etc/hostname?", "ftp://127.0.0.1/", "//"])
def test_a_redirect_to_anything_but_the_web_is_not_followed(server, location):
    server.files, server.location = WHOLE, location
    assert found().checkpoint_bytes is None


@pytest.mark.parametrize(
    ("files", "names"),
    [
        ({**WHOLE, "model.safetensors": b"\xff" * 20}, "model.safetensors states a header of"),
        ({**WHOLE, "model.safetensors": WHOLE["model.safetensors"][:-1]}, "model.safetensors is cut"),
        ({**WHOLE, "model.safetensors": b"\0\0\1\0\0\0\0\0" + b"[" * 65536}, "nested too deeply"),
        (
            {**SHARDED, "model.safetensors.index.json": b'{"weight_map": {"a": "../../x"}}'},
            r"index.json names '../../x'",
        ),
        ({**SHARDED, "model.safetensors.index.json": b"[" * (1 << 20)}, "nested too deep"),
        ({**SHARDED, "b.safetensors": safetensors(SHARDS["b.safetensors"][1:])}, r"1 tensors of .* are missing"),
        ({**WHOLE, "model.safetensors": safetensors(list(SHAPES), "F8_E4M3")}, "states no quantisation"),
        ({**WHOLE, "config.json": b"{" * 10}, "not valid JSON"),
    ],
)
def test_a_hub_that_lies_is_refused_in_one_line(server, tonnage: Tonnage, monkeypatch, files, names):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    server.files = files
    with pytest.raises(BadInput, match=names):
        found()
    called = tonnage("size", NAME, "--gpu", "L4")
    assert (called.code, called.line.count("\n")) == (2, 0)


def test_a_hub_that_stalls_is_given_up_in_bounded_time(server, monkeypatch):
    monkeypatch.setattr(hub, "REQUEST_TIMEOUT_S", 0.1)
    monkeypatch.setattr(hub, "LOOKUP_TIMEOUT_S", 0.2)
    server.files, server.drip_s = WHOLE, 0.05
    started = time.monotonic()
    with pytest.raises(BadInput, match=r"no answer within 0\.2 s"):
        found()
    assert time.monotonic() - started < 5
