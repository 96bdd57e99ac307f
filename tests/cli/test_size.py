"""``tonnage size``: contract keys, exit codes, and where a model may come from."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sizing.catalogue import load_catalogue
from tests.cli.conftest import Tonnage

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
CONFIG = json.dumps(load_catalogue().model_document(MODEL)["config"])


def test_json_has_the_keys_of_the_contract(tonnage: Tonnage) -> None:
    called = tonnage("size", MODEL, "--gpu", "l4", "--max-model-len", "8192", "--format", "json")
    document = called.document
    assert called.code == 0
    assert {"fits", "per_gpu", "kv", "interval", "binding", "hints", "inputs", "schema"} <= document.keys()
    assert document["per_gpu"].keys() == {
        "total_gib", "requested_gib", "weights_gib", "peak_activation_gib", "non_torch_gib", "cuda_graph_gib",
        "kv_cache_gib",
    }  # fmt: skip
    assert {"tokens", "max_concurrency", "bytes_per_token"} <= document["kv"].keys()
    assert document["inputs"]["max_model_len"] == {"value": 8192, "source": "stated"}


def test_a_flag_that_is_turned_off_reaches_the_estimate(tonnage: Tonnage) -> None:
    call = ("size", MODEL, "--gpu", "L4", "--max-model-len", "8192", "--no-enable-prefix-caching", "--format", "json")
    assert tonnage(*call).document["inputs"]["enable_prefix_caching"] == {"value": False, "source": "stated"}


def test_every_option_reaches_the_estimate(tonnage: Tonnage) -> None:
    options = {
        "--tensor-parallel": "2", "--pipeline-parallel": "2", "--max-model-len": "4096", "--max-num-seqs": "8",
        "--max-num-batched-tokens": "1024", "--gpu-memory-utilization": "0.8", "--kv-cache-dtype": "fp8",
        "--vllm-version": "0.20.0", "--gpu-total-gib": "30.5", "--weights-gib": "4.5",
    }  # fmt: skip
    flat = [part for pair in options.items() for part in pair]
    document = tonnage("size", MODEL, "--gpu", "L4", *flat, "--enforce-eager", "--format", "json").document
    inputs = document["inputs"]
    for option, value in options.items():
        assert str(inputs[option.removeprefix("--").replace("-", "_")]["value"]) == value
    assert inputs["enforce_eager"]["value"] is True


def test_what_does_not_fit_is_an_answer_with_exit_3(tonnage: Tonnage) -> None:
    called = tonnage("size", "meta-llama/Llama-3.1-70B-Instruct", "--gpu", "L4", "--format", "json")
    assert (called.document["fits"], called.code) == (False, 3)


@pytest.mark.parametrize("output_format", ["text", "markdown"])
def test_text_and_markdown_name_every_term(tonnage: Tonnage, output_format: str) -> None:
    called = tonnage("size", MODEL, "--gpu", "L4", "--max-model-len", "8192", "--format", output_format)
    for term in ("weights", "activations", "non-torch", "CUDA graphs", "KV cache"):
        assert term in called.out
    assert called.code == 0


def test_a_config_file_and_its_folder_give_what_the_catalogue_gives(tonnage: Tonnage, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(CONFIG)
    rest = ("--gpu", "L4", "--max-model-len", "8192", "--format", "json")
    known = tonnage("size", MODEL, *rest).document["per_gpu"]
    assert tonnage("size", str(tmp_path), *rest).document["per_gpu"] == known
    assert tonnage("size", str(tmp_path / "config.json"), *rest).document["per_gpu"] == known


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b"\xff\xfe", b'{"a": NaN}', b"[" * 500_000, b'{"a":' * 150_000, b" " * (1 << 20) + b"{}"],
    ids=["empty", "list", "cut", "binary", "nan", "brackets", "objects", "large"],
)
def test_a_hostile_config_is_refused_in_one_line(tonnage: Tonnage, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    called = tonnage("size", str(tmp_path / "config.json"), "--gpu", "L4")
    assert called.line.startswith(("model: ", "config.json", "architectures"))
    assert called.code == 2


@pytest.mark.parametrize("name", ["", "../x", "..", "/dev/zero", "a/../b", "x" * 5000, "a\nb", "~nobody/x", "a/b/c"])
def test_a_name_that_cannot_be_a_model_is_refused_in_one_line(tonnage: Tonnage, name: str) -> None:
    called = tonnage("size", name, "--gpu", "L4")
    assert called.line
    assert called.code == 2


def test_an_unknown_model_without_network_says_the_way_out(tonnage: Tonnage) -> None:
    called = tonnage("size", "meta-llama/Llama-3.1-9B-Instruct", "--gpu", "L4")
    assert "is not in the catalogue, and HF_HUB_OFFLINE forbids to ask the Hub" in called.line
    assert "nearest known: meta-llama/Llama-3.1-8B-Instruct" in called.line
    assert "name its config.json or a folder with one" in called.line
    assert called.code == 2


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str | None]]]:
    """A Hub on loopback that knows one model; yields the paths that were asked for, with their credentials."""
    asked: list[tuple[str, str | None]] = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Authorization"]))
            known = self.path == "/someone/model-8b/resolve/main/config.json"
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(CONFIG.encode() if known else b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_hub_id_outside_the_catalogue_is_read_from_the_hub(
    tonnage: Tonnage, hub: list[tuple[str, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_TOKEN", "a-token")
    called = tonnage("size", "someone/model-8b", "--gpu", "L4", "--max-model-len", "8192", "--format", "json")
    assert called.document["model"] == "someone/model-8b"
    assert called.document["per_gpu"]["weights_gib"] == pytest.approx(14.99, abs=0.05)
    assert hub[0] == ("/someone/model-8b/resolve/main/config.json", "Bearer a-token")


def test_a_hub_that_does_not_know_the_model_is_named_with_the_way_out(
    tonnage: Tonnage, hub: list[tuple[str, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    called = tonnage("size", "someone/other", "--gpu", "L4")
    assert "the Hub gave no config.json (Not Found)" in called.line
    assert called.code == 2


def test_a_token_is_not_sent_to_a_catalogue_model(tonnage: Tonnage, hub: list[tuple[str, str | None]]) -> None:
    tonnage("size", MODEL, "--gpu", "L4", "--max-model-len", "8192")
    assert hub == []


EAGLE3 = {
    **json.loads(CONFIG), "architectures": ["LlamaForCausalLMEagle3"], "num_hidden_layers": 1,
    "draft_vocab_size": 32000, "max_position_embeddings": 2048, "rope_scaling": None,
}  # fmt: skip
SPECULATIVE = ("--speculative-method", "eagle3", "--num-speculative-tokens", "3")


def test_a_draft_model_reaches_weights_cache_and_flags(tonnage: Tonnage, tmp_path: Path) -> None:
    folder = tmp_path / "eagle3-head"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(EAGLE3))
    rest = ("--gpu", "H100", "--format", "json")
    alone = tonnage("size", MODEL, *rest).document
    document = tonnage("size", MODEL, "--draft-model", str(folder), *SPECULATIVE, *rest).document
    assert document["per_gpu"]["weights_gib"] - alone["per_gpu"]["weights_gib"] == pytest.approx(0.8225, abs=0.0011)
    assert document["kv"]["bytes_per_token"] - alone["kv"]["bytes_per_token"] == 4096
    told = document["engine_args"][document["engine_args"].index("--speculative-config") + 1]
    assert json.loads(told) == {"method": "eagle3", "model": "eagle3-head", "num_speculative_tokens": 3}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (SPECULATIVE, "speculative-method: eagle3 without a draft model"),
        (("--draft-model", "Qwen/Qwen3-8B"), "draft-model: Qwen/Qwen3-8B with method 'none'"),
        (("--draft-model", "Qwen/Qwen3-8B", *SPECULATIVE), "draft-model: Qwen/Qwen3-8B (Qwen3ForCausalLM) is no draft"),
        (("--draft-model", "nobody", *SPECULATIVE), "--draft-model: 'nobody' is not in the catalogue"),
        (("--draft-model", "../no/config.json", *SPECULATIVE), "--draft-model: there is no config.json"),
    ],
)
def test_a_draft_that_does_not_belong_is_refused_in_one_line(
    tonnage: Tonnage, options: tuple[str, ...], said: str
) -> None:
    called = tonnage("size", MODEL, "--gpu", "L4", *options)
    assert called.line.startswith(said)
    assert called.code == 2


def test_a_limit_of_zero_serves_text_alone(tonnage: Tonnage) -> None:
    rest = ("--gpu", "L4", "--max-model-len", "8192", "--limit-mm-per-prompt", "0", "--format", "json")
    document = tonnage("size", "Qwen/Qwen2-VL-7B-Instruct", *rest).document
    assert document["inputs"]["limit_mm_per_prompt"] == {"value": 0, "source": "stated"}
    assert document["per_gpu"]["weights_gib"] == pytest.approx(14.216, abs=0.001)
    assert tonnage("size", MODEL, *rest).line.startswith("limit-mm-per-prompt: meta-llama/Llama-3.1-8B-Instruct takes")
