"""Checkpoints read from the headers of their files: exact sums, real storage, and every lie refused in one line."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sizing.catalogue import load_catalogue
from sizing.catalogue.model_source import load_model, model_name
from sizing.errors import BadInput
from sizing.models.checkpoint import INDEX, checkpoint_of, read_checkpoint, read_tensors
from sizing.models.safetensors_header import BITS, HEADER_LIMIT_BYTES, parse_header

CATALOGUE = load_catalogue()
HIDDEN, WIDTH, VOCABULARY, LAYERS = 128, 256, 1024, 2
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": HIDDEN, "intermediate_size": WIDTH, "torch_dtype": "bfloat16",
    "num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": VOCABULARY,
    "max_position_embeddings": 2048, "tie_word_embeddings": False, "attention_bias": False, "mlp_bias": False,
}  # fmt: skip
ATTENTION = {f"self_attn.{part}_proj": (HIDDEN, HIDDEN) for part in "qkvo"}
LINEAR = {
    **ATTENTION,
    "mlp.gate_proj": (WIDTH, HIDDEN),
    "mlp.up_proj": (WIDTH, HIDDEN),
    "mlp.down_proj": (HIDDEN, WIDTH),
}
ELEMENTS = LAYERS * (4 * HIDDEN**2 + 3 * HIDDEN * WIDTH + 2 * HIDDEN) + 2 * VOCABULARY * HIDDEN + HIDDEN


def tensors(dtype: str = "BF16", linear: str | None = None, *, plain: tuple[str, ...] = ()) -> dict[str, tuple]:
    """Names, types and shapes of a tiny Llama; ``linear`` is the type of its linear layers."""
    table = (dtype, (VOCABULARY, HIDDEN))
    found = {"model.embed_tokens.weight": table, "lm_head.weight": table, "model.norm.weight": (dtype, (HIDDEN,))}
    for layer in range(LAYERS):
        base = f"model.layers.{layer}."
        for name, shape in LINEAR.items():
            found[f"{base}{name}.weight"] = (dtype if name in plain else linear or dtype, shape)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            found[f"{base}{norm}.weight"] = (dtype, (HIDDEN,))
    return found


def write(file: Path, described: dict[str, tuple], *, cut: int = 0, more: bytes = b"") -> None:
    header, place = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape) in described.items():
        size = BITS[dtype] // 8
        for one in shape:
            size *= one
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [place, place + size]}
        place += size
    content = json.dumps(header).encode()
    content = len(content).to_bytes(8, "little") + content + b"\0" * place + more
    file.write_bytes(content[: len(content) - cut])


def folder(tmp_path: Path, described: dict[str, tuple], shards: int = 1, **config) -> Path:
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, **config}))
    if shards == 1:
        write(tmp_path / "model.safetensors", described)
        return tmp_path
    names = sorted(described)
    where = {name: f"model-{1 + i % shards:05}-of-{shards:05}.safetensors" for i, name in enumerate(names)}
    for file in sorted(set(where.values())):
        write(tmp_path / file, {name: described[name] for name in names if where[name] == file})
    (tmp_path / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    return tmp_path


@pytest.mark.parametrize("shards", [1, 3])
def test_the_bytes_of_a_checkpoint_are_those_of_its_tensors_not_of_its_files(tmp_path, shards):
    at = folder(tmp_path, tensors(), shards)
    found = read_checkpoint(at)
    assert (found.total_bytes, found.parameters, found.bytes_by_dtype) == (
        2 * ELEMENTS,
        ELEMENTS,
        (("BF16", 2 * ELEMENTS),),
    )
    assert dict(found.bytes_by_name)["model.layers.{i}.mlp.down_proj.weight"] == LAYERS * 2 * HIDDEN * WIDTH
    model = load_model(str(at), CATALOGUE)
    assert (model.checkpoint_bytes, model.weight_bytes()) == (2 * ELEMENTS, 2 * ELEMENTS)


def test_a_head_stored_beside_the_embedding_that_it_is_counts_once(tmp_path):
    at = folder(tmp_path, tensors(), tie_word_embeddings=True)
    assert load_model(str(at), CATALOGUE).checkpoint_bytes == 2 * (ELEMENTS - VOCABULARY * HIDDEN)


def test_a_checkpoint_in_four_bytes_is_one_that_loads_in_two(tmp_path):
    model = load_model(str(folder(tmp_path, tensors("F32"))), CATALOGUE)
    assert (model.checkpoint_bytes, model.weight_bytes()) == (4 * ELEMENTS, 2 * ELEMENTS)


def test_modules_that_the_files_hold_in_plain_form_are_not_counted_as_quantised(tmp_path):
    stored = tensors(linear="F8_E4M3", plain=("mlp.gate_proj",))
    at = folder(tmp_path, stored, quantization_config={"quant_method": "fp8"})
    model = load_model(str(at), CATALOGUE)
    scales = 8 * LAYERS * (len(LINEAR) - 1)
    assert model.weight_bytes() == model.checkpoint_bytes + scales


def test_links_are_followed_inside_the_folder_and_the_cache_of_the_hub_only(tmp_path):
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    blobs = tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    write(blobs / "f00", tensors())
    write(tmp_path / "outside", tensors())
    link = snapshot / "model.safetensors"
    link.symlink_to(blobs / "f00")
    assert read_checkpoint(snapshot).total_bytes == 2 * ELEMENTS
    link.unlink()
    link.symlink_to(tmp_path / "outside")
    with pytest.raises(BadInput, match="no file inside"):
        read_checkpoint(snapshot)


@pytest.mark.parametrize(
    ("stored", "config", "names"),
    [
        (tensors(linear="F8_E4M3"), {}, r"no quantisation, but \d+% of the bytes are quantised"),
        (tensors(), {"quantization_config": {"quant_method": "fp8"}}, r"states fp8, but 100% of the bytes are plain"),
        ({n: t for n, t in tensors().items() if ".layers.1." not in n}, {}, "no tensors of layer 1 of 2"),
        (tensors(), {"intermediate_size": 8 * WIDTH}, "GiB of weights, but config.json describes"),
    ],
)
def test_a_checkpoint_that_contradicts_its_configuration_is_refused(tmp_path, stored, config, names):
    with pytest.raises(BadInput, match=names):
        load_model(str(folder(tmp_path, stored, **config)), CATALOGUE)


def header(**changes) -> bytes:
    entry = {"dtype": "BF16", "shape": [2, 4], "data_offsets": [0, 16], **changes}
    return json.dumps({"a": entry}).encode()


def file_of(content: bytes, length: int | None = None, data: int = 16) -> bytes:
    return (len(content) if length is None else length).to_bytes(8, "little") + content + b"\0" * data


TWO = (
    '{"a": {"dtype": "U8", "shape": [10], "data_offsets": [0, 10]},'
    ' "b": {"dtype": "U8", "shape": [%d], "data_offsets": [%d, 16]}}'
)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"", "cut: 0 bytes"),
        (b"\1\2", "cut: 2 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "pointer of Git LFS"),
        (file_of(header(), 100_000_000), f"header of 100000000 bytes; limit: {HEADER_LIMIT_BYTES}"),
        (file_of(header(), 1 << 63), "header of 9223372036854775808"),
        (file_of(header(), 5000), "cut: a header of 5000 bytes in a file of"),
        (file_of(header(), data=15), "is cut: tensors of 16 bytes, 15 there"),
        (file_of(header(), data=17), "longer than its header says"),
        (file_of(b"{]"), "not JSON"),
        (file_of(b"\xff\xfe\xfa"), "not JSON"),
        (file_of(b"[]"), "no JSON object"),
        (file_of(b"[" * (1 << 20)), "nested too deeply"),
        (file_of(b'{"a":' * 200_000), "nested too deeply"),
        (file_of(b'{"a": 3}'), "not described by an object"),
        (file_of(header(shape=[-2, -4])), r"impossible shape \[-2, -4\]"),
        (file_of(header(shape=[2.0, 4])), "impossible shape"),
        (file_of(header(shape=[1 << 40] * 16)), "does not fill"),
        (file_of(header(shape=[1] * 17)), "impossible shape"),
        (file_of(header(dtype="BF17")), "unknown type 'BF17'"),
        (file_of(header(dtype=["BF16"])), "unknown type"),
        (file_of(header(data_offsets=[0, 1 << 40])), "does not fill"),
        (file_of(header(data_offsets=[16, 0])), "impossible place"),
        (file_of(header(data_offsets=[-16, 0])), "impossible place"),
        (file_of(header(data_offsets=[8, 24])), "leaves a gap"),
        (file_of((TWO % (8, 8)).encode()), "'b' overlaps"),
        (file_of((TWO % (4, 12)).encode()), "'b' leaves a gap"),
        (file_of(b'{"a\\u0000": {"dtype": "U8", "shape": [16], "data_offsets": [0, 16]}}'), "readable name"),
    ],
)
def test_a_file_that_is_cut_or_lies_is_refused_in_one_line(tmp_path, content, names):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "model.safetensors").write_bytes(content)
    started = time.process_time()
    with pytest.raises(BadInput, match=names) as refused:
        load_model(str(tmp_path), CATALOGUE)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 500
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a/b.safetensors", "..", "c:\\x.safetensors", "", 7]
)
def test_an_index_that_leads_out_of_the_folder_is_refused(tmp_path, name):
    folder(tmp_path, tensors())
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"lm_head.weight": name}}))
    with pytest.raises(BadInput, match=r"names of .safetensors files in the same folder"):
        read_checkpoint(tmp_path)


def test_a_shard_or_a_tensor_that_the_index_names_must_be_there(tmp_path):
    folder(tmp_path, tensors(), 3)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(BadInput, match=r"model-00002-of-00003.safetensors, named in .* is missing"):
        read_checkpoint(tmp_path)
    left = {name: stored for name, stored in tensors().items() if name != "lm_head.weight"}
    write(tmp_path / "model.safetensors", left)
    index = {"weight_map": dict.fromkeys(tensors(), "model.safetensors")}
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(BadInput, match=r"1 tensors of .* are missing, first 'lm_head.weight'"):
        read_checkpoint(tmp_path)


def test_a_tensor_in_two_files_is_refused(tmp_path):
    write(tmp_path / "a.safetensors", tensors())
    write(tmp_path / "b.safetensors", {"lm_head.weight": ("BF16", (2, 2))})
    with pytest.raises(BadInput, match=r"stand in two files, first 'lm_head.weight'"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("content", ["[" * (1 << 20), "[]", "{", '{"weight_map": []}'])
def test_an_index_that_is_none_is_refused(tmp_path, content):
    write(tmp_path / "model.safetensors", tensors())
    (tmp_path / INDEX).write_text(content)
    with pytest.raises(BadInput, match=r"model.safetensors.index.json"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("stated", "want"),
    [
        ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B"),
        ("../../x", "here"),
        ("/data/checkpoint", "here"),
        ("a/../b", "here"),
        (None, "here"),
    ],
)
def test_a_path_never_becomes_the_name_of_a_model(tmp_path, stated, want):
    assert model_name({"_name_or_path": stated}, tmp_path / "here" / "config.json") == want


sizes = st.integers(-1, 9) | st.none() | st.just(1 << 60)
entry = st.fixed_dictionaries(
    {}, optional={"dtype": st.sampled_from([*BITS, "X", 3]), "shape": st.lists(sizes, max_size=3) | st.none(),
                  "data_offsets": st.lists(sizes, max_size=3) | st.text(max_size=2)},
)  # fmt: skip
headers = st.dictionaries(st.text(max_size=4), entry | st.integers(), max_size=3).map(lambda d: json.dumps(d).encode())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=64) | headers.map(file_of), st.binary(max_size=16))
def test_any_bytes_are_a_checkpoint_or_are_refused(tmp_path, content, more):
    (tmp_path / "model.safetensors").write_bytes(content + more)
    with contextlib.suppress(BadInput):
        found = read_checkpoint(tmp_path)
        assert found.total_bytes == sum(tensor.size_bytes for tensor in read_tensors(tmp_path / "model.safetensors"))


shapes = st.lists(st.tuples(st.sampled_from([dtype for dtype, bits in BITS.items() if bits >= 8]),
                            st.lists(st.integers(0, 9), max_size=3).map(tuple)), max_size=6)  # fmt: skip


@given(shapes)
def test_what_is_written_is_read_again(described):
    place, document = 0, {}
    for number, (dtype, shape) in enumerate(described):
        size = BITS[dtype] // 8
        for one in shape:
            size *= one
        document[f"model.layers.{number}.w"] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place + size]}
        place += size
    found = checkpoint_of(parse_header("x", json.dumps(document).encode(), place))
    assert found.total_bytes == place == sum(size for _, size in found.bytes_by_name)
