"""Which files of a revision are copied: one set of weights and what is read beside it, else one line."""

import json

import pytest

from runtime.tools.choice import INDEX, MODULES, HubFile, choose
from runtime.tools.hub import IngestError

NAME = "org/m@0e9e39f2"
TEXT = ("config.json", "tokenizer.json", "tokenizer.model", "vocab.txt", "chat_template.jinja", "qwen.tiktoken")
OTHER = ("README.md", "model.py", "original/params.json", "onnx/config.json", "openvino/openvino_model.xml")
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def chosen(*paths, documents=None, sizes=None):
    """Return paths chosen and what is said; ``documents`` are the contents of JSON files."""
    contents = {path: json.dumps(document).encode() for path, document in (documents or {}).items()}
    files = [
        HubFile(path=path, size=(sizes or {}).get(path, 9), algorithm="sha256", digest="0" * 64)
        for path in sorted({*paths, *contents})
    ]
    choice = choose(files, NAME, lambda file: contents[file.path])
    return [file.path for file in choice.files], choice.says


def index(*shards):
    return {"metadata": {}, "weight_map": {f"layer.{number}": shard for number, shard in enumerate(shards)}}


def test_beside_weights_the_root_folders_configuration_tokenizer_and_templates_are_copied_and_nothing_else():
    templates = ("additional_chat_templates/tools.jinja", "additional_chat_templates/old/a.jinja")
    paths, says = chosen("model.safetensors", *TEXT, *OTHER, *templates)
    assert paths == sorted(["model.safetensors", *TEXT, templates[0]])
    assert says == "weights: model.safetensors"


def test_the_shards_that_the_index_names_are_copied_and_no_other_weights():
    others = (
        "consolidated.safetensors", "model.safetensors", "model.fp32-00001-of-00001.safetensors",
        "original/model-00001-of-00002.safetensors", "adapter/adapter_model.safetensors",
    )  # fmt: skip
    indices = {INDEX: index(*SHARDS, SHARDS[0]), "consolidated.safetensors.index.json": index(others[0])}
    paths, says = chosen(*SHARDS, *others, "pytorch_model.bin.index.json", "pytorch_model.bin", documents=indices)
    assert paths == [*SHARDS, INDEX]
    assert says == (
        f"weights: those that {INDEX} names; left at the hub: adapter/adapter_model.safetensors, "
        "consolidated.safetensors, model.fp32-00001-of-00001.safetensors and 2 more"
    )


def test_without_an_index_a_single_file_is_taken_and_shards_in_another_precision_are_left():
    others = ("model.fp32-00001-of-00002.safetensors", "model.fp32-00002-of-00002.safetensors")
    paths, _ = chosen("model.safetensors", *others, "model.safetensors.index.fp32.json", "consolidated.safetensors")
    assert paths == ["model.safetensors"]


def test_mistrals_format_is_taken_where_there_is_no_other_and_it_is_said():
    paths, says = chosen("consolidated.safetensors", "params.json", "tekken.json")
    assert paths == ["consolidated.safetensors", "params.json", "tekken.json"]
    assert says == "weights: Mistral's format, consolidated.safetensors"
    named = "consolidated.safetensors.index.json"
    shards = ("consolidated-00001-of-00002.safetensors", "consolidated-00002-of-00002.safetensors")
    paths, says = chosen(*shards, documents={named: index(*shards)})
    assert paths == [*shards, named]
    assert says == f"weights: Mistral's format, those that {named} names"


def test_a_complete_set_of_shards_without_an_index_is_taken_and_an_incomplete_one_is_refused():
    assert chosen(*SHARDS)[0] == list(SHARDS)
    assert chosen("weights.safetensors")[0] == ["weights.safetensors"]
    with pytest.raises(IngestError, match=rf"^{NAME}: has 1 of 2 shards model-\*; hint: state a complete revision$"):
        chosen(SHARDS[1])


def test_several_sets_of_weights_without_an_index_are_refused_by_name():
    line = rf"^{NAME}: has 2 sets of weights and no index: fp16.safetensors, {SHARDS[0]} and 1 more; hint: state a rev"
    with pytest.raises(IngestError, match=line):
        chosen("fp16.safetensors", *SHARDS)


@pytest.mark.parametrize(
    ("paths", "holds"),
    [
        (("pytorch_model.bin", "onnx/model.onnx"), ", it holds pytorch_model.bin"),
        (("m-q4.gguf", "m-q5.gguf", "m-q6.gguf", "m-q8.gguf"), ", it holds m-q4.gguf, m-q5.gguf, m-q6.gguf and 1 more"),
        (("adapter_model.safetensors", "adapter_config.json"), ", it holds adapter_model.safetensors"),
        (("unet/model.safetensors",), ", it holds unet/model.safetensors"),
        (("config.json",), ""),
    ],
)
def test_a_revision_without_weights_to_stream_is_refused_with_what_it_needs(paths, holds):
    with pytest.raises(IngestError) as error:
        chosen(*paths)
    assert str(error.value) == (
        f"{NAME}: has no .safetensors weights in its root folder{holds}; limit: safetensors; "
        "hint: state a revision that has, such as the commit of a conversion pull request at the hub"
    )


@pytest.mark.parametrize(
    "shard", ["model-00003-of-00002.safetensors", "../x.safetensors", "/x.safetensors", "config.json"]
)
def test_an_index_that_names_what_the_revision_does_not_list_is_refused(shard):
    with pytest.raises(IngestError, match=rf"^{NAME}: {INDEX} names '.*{shard[-9:]}', which is no .* \(1 of 2\)"):
        chosen(SHARDS[0], "config.json", documents={INDEX: index(SHARDS[0], shard)})


def test_an_index_does_not_reach_into_a_folder():
    with pytest.raises(IngestError, match=r"which is no .safetensors file of the revision's root folder"):
        chosen("original/a.safetensors", documents={INDEX: index("original/a.safetensors")})


@pytest.mark.parametrize("document", [{}, {"weight_map": {}}, {"weight_map": ["a"]}, []])
def test_an_index_that_names_nothing_is_refused(document):
    with pytest.raises(IngestError, match=rf"^{NAME}: {INDEX} names no weights; limit: weight_map"):
        chosen(*SHARDS, documents={INDEX: document})


def test_an_embedding_model_keeps_the_configuration_of_the_folders_that_it_names():
    modules = [{"path": ""}, {"path": "1_Pooling"}, {"path": "2_Normalize"}]
    paths, _ = chosen("model.safetensors", "1_Pooling/config.json", "9_Other/config.json", documents={MODULES: modules})
    assert paths == ["1_Pooling/config.json", "model.safetensors", "modules.json"]


def test_an_embedding_model_with_weights_in_a_folder_is_refused_before_it_answers_wrongly():
    modules = [{"path": "2_Dense"}]
    with pytest.raises(IngestError, match=rf"^{NAME}: modules.json names 2_Dense, which has weights of its own"):
        chosen("model.safetensors", "2_Dense/model.safetensors", documents={MODULES: modules})


def test_a_file_beside_the_weights_that_is_as_large_as_weights_is_refused():
    with pytest.raises(IngestError, match=r"^vocab.json: 67108865 bytes beside the weights; limit: 67108864;"):
        chosen("model.safetensors", "vocab.json", sizes={"vocab.json": 64 * 2**20 + 1})
