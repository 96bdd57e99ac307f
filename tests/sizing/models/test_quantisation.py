"""How checkpoints store their linear layers: bytes by form, lists of modules, refusals, properties."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sizing.errors import BadInput
from sizing.models.quantisation.config import (
    NONE,
    Quantisation,
    blocks_divide,
    for_engine,
    group_bytes,
    kv_cache_dtype_of,
    matrix_bytes,
    online_quantisation,
    quantisation_of,
)
from sizing.models.quantisation.module_names import module_names

DOWN, GATE = "model.layers.{i}.mlp.down_proj", "model.layers.{i}.mlp.gate_proj"
EXPERT = "model.layers.{i}.mlp.experts.0.down_proj"
ELEMENTS = 4096 * 2048


def read(method: str, **fields) -> Quantisation:
    return quantisation_of({"torch_dtype": "bfloat16", "quantization_config": {"quant_method": method, **fields}})


def size(quantisation: Quantisation, path: str = DOWN, layers=(0,), *, rows=4096, columns=2048, **more) -> int:
    return group_bytes(quantisation, 2, rows=rows, columns=columns, count=1, layers=layers, path=path, **more)


def tensors(bits: int, kind: str, strategy: str, form: str, **more) -> Quantisation:
    weights = {"num_bits": bits, "type": kind, "strategy": strategy, "symmetric": True, **more}
    groups = {"group_0": {"targets": ["Linear"], "weights": weights}}
    return read("compressed-tensors", format=form, config_groups=groups, ignore=["lm_head"])


@pytest.mark.parametrize(
    ("quantisation", "want"),
    [
        (NONE, 2 * ELEMENTS),
        (read("fp8"), ELEMENTS + 8),
        (read("fp8", weight_block_size=[128, 128]), ELEMENTS + 32 * 16 * 4),
        (read("fbgemm_fp8"), ELEMENTS + 4096 * 4),
        (read("awq", bits=4, group_size=128, zero_point=True), ELEMENTS // 2 + 4096 * 16 * 2 + 4096 * 16 // 2),
        (read("gptq", bits=4, group_size=128, sym=True), ELEMENTS // 2 + 4096 * 16 * 2),
        (read("gptq", bits=8, group_size=-1, sym=True), ELEMENTS + 4096 * 2),
        (read("gptq", bits=4, group_size=128, desc_act=True), ELEMENTS // 2 + 4096 * 16 * 2 + 2048 * 8),
        (read("auto-round", bits=4, group_size=128, sym=True), ELEMENTS // 2 + 4096 * 16 * 2),
        (tensors(8, "float", "channel", "float-quantized"), ELEMENTS + 4096 * 4),
        (tensors(8, "float", "tensor", "float-quantized"), ELEMENTS + 8),
        (tensors(8, "float", "block", "float-quantized", block_structure=[128, 128]), ELEMENTS + 32 * 16 * 4),
        (tensors(8, "int", "channel", "int-quantized"), ELEMENTS + 4096 * 4),
        (tensors(4, "int", "group", "pack-quantized", group_size=32), ELEMENTS // 2 + 4096 * 64 * 2),
        (tensors(4, "float", "tensor_group", "nvfp4-pack-quantized", group_size=16), ELEMENTS // 2 + 4096 * 128 + 8),
        (read("modelopt", quant_algo="FP8"), ELEMENTS + 8),
        (read("modelopt", quant_algo="NVFP4", group_size=16), ELEMENTS // 2 + 4096 * 128 + 8),
        (read("mxfp8"), ELEMENTS + 4096 * 64),
        (read("bitsandbytes", load_in_4bit=True), ELEMENTS // 2 + ELEMENTS // 64 * 4),
        (read("bitsandbytes", load_in_8bit=True), ELEMENTS + 4096 * 4),
        (online_quantisation("fp8"), ELEMENTS + 8),
    ],
)
def test_a_matrix_takes_its_weights_its_scales_and_its_zero_points(quantisation, want):
    assert size(quantisation) == want


def test_doubly_quantised_scales_stay_so_in_the_file_and_in_vllm_before_0_9_2():
    double = read("bitsandbytes", load_in_4bit=True, bnb_4bit_use_double_quant=True)
    blocks = ELEMENTS // 64
    assert size(double) == ELEMENTS // 2 + 4 * blocks
    assert size(double, layout="checkpoint") == ELEMENTS // 2 + blocks + blocks // 256 * 4
    assert size(for_engine(double, (0, 8, 5))) == size(double, layout="checkpoint")


@pytest.mark.parametrize(
    ("quantisation", "names"),
    [
        (read("bitsandbytes", load_in_4bit=True), "bitsandbytes"),
        (read("gptq", bits=4, group_size=128, desc_act=True), "desc_act"),
        (read("gptq", bits=4, group_size=128, sym=False), "symmetry"),
        (read("awq", bits=8, group_size=128), "8 bits"),
    ],
)
def test_what_vllm_0_32_took_out_is_refused_for_it_alone(quantisation, names):
    assert size(for_engine(quantisation, (0, 12, 0))) > 0
    with pytest.raises(BadInput, match=names):
        for_engine(quantisation, (0, 32, 0))


def gpt_oss_gib(tp: int, layout: str, layers: int = 36, experts: int = 128) -> float:
    """Everything in gpt-oss on one rank: experts in MXFP4, the rest in 2 bytes."""
    hidden, width, quantisation = 2880, 2880 // tp, read("mxfp4")
    parts = [("gate_up_proj", 2 * width, hidden), ("down_proj", hidden, width)]
    total = sum(
        group_bytes(quantisation, 2, rows=rows, columns=columns, count=experts, layers=range(layers),
                    path="model.layers.{i}.mlp.experts.0." + name, layout=layout)
        for name, rows, columns in parts
    )  # fmt: skip
    bias = layers * experts * (2 * width + hidden) * 2
    attention = layers * (hidden * (4096 + 1024) // tp + hidden * 4096 // tp + 2 * hidden + hidden * experts) * 2
    return (total + bias + attention + 2 * 201088 * hidden // tp * 2) / (1 << 30)


@pytest.mark.parametrize(
    ("tp", "layout", "layers", "experts", "measured"),
    [
        (1, "marlin", 36, 128, 65.97),  # H100, vLLM 0.10.1
        (4, "marlin", 36, 128, 17.22),  # A100
        (1, "triton", 36, 128, 64.38),  # H100, 0.14.1
        (1, "triton", 24, 32, 13.47),  # gpt-oss-20b
        (2, "triton", 36, 128, 32.98),  # H200
    ],
)
def test_padded_mxfp4_experts_meet_what_vllm_printed(tp, layout, layers, experts, measured):
    assert gpt_oss_gib(tp, layout, layers, experts) == pytest.approx(measured, rel=0.012)


def test_triton_runs_mxfp4_on_hopper_and_marlin_or_trtllm_elsewhere():
    cards = [(8, 0), (8, 9), (9, 0), (10, 0), (12, 0)]
    layouts = [for_engine(read("mxfp4"), (0, 14, 1), card).layout for card in cards]
    assert layouts == ["marlin", "marlin", "triton", "marlin", "marlin"]
    before, since = (for_engine(read("mxfp4"), version, (9, 0)) for version in ((0, 10, 1), (0, 10, 2)))
    assert size(before, EXPERT, rows=2880, columns=2880) > size(since, EXPERT, rows=2880, columns=2880)


@pytest.mark.parametrize(
    ("method", "key", "entry", "module", "skipped"),
    [
        ("fp8", "modules_to_not_convert", "model.layers.3.mlp.gate", "mlp.gate_proj", False),
        ("fp8", "modules_to_not_convert", "model.layers.3.mlp.gate_up_proj", "mlp.gate_proj", True),
        ("fp8", "ignored_layers", "model.layers.3.self_attn.qkv_proj", "self_attn.k_proj", True),
        ("fp8", "modules_to_not_convert", "model.layers.3", "mlp.down_proj", True),
        ("fp8", "modules_to_not_convert", "model.layers.30", "mlp.down_proj", False),
        ("fp8", "modules_to_not_convert", "model.language_model.layers.3.mlp", "mlp.down_proj", True),
        ("fp8", "modules_to_not_convert", "language_model.model.layers.3.mlp", "mlp.down_proj", True),
        ("fp8", "modules_to_not_convert", "model.layers.3.mlp.experts.17.up_proj", "mlp.experts.0.up_proj", True),
        ("fp8", "modules_to_not_convert", "model.layers.3.mlp.experts", "mlp.experts.0.up_proj", True),
        ("fp8", "modules_to_not_convert", "visual", "mlp.down_proj", False),
        ("awq", "modules_to_not_convert", "self_attn", "self_attn.o_proj", True),
        ("awq", "modules_to_not_convert", "vision_tower", "self_attn.o_proj", False),
        ("bitsandbytes", "llm_int8_skip_modules", "down_proj", "mlp.down_proj", True),
        ("bitsandbytes", "llm_int8_skip_modules", "down", "mlp.down_proj", False),
        ("modelopt", "exclude_modules", "model.layers.3.self_attn*", "self_attn.q_proj", True),
        ("modelopt", "exclude_modules", "*.mlp.shared_experts.*", "mlp.shared_experts.up_proj", True),
        ("modelopt", "ignore", "model.layers.2.*", "self_attn.q_proj", False),
        ("compressed-tensors", "ignore", r"re:.*self_attn.*", "self_attn.q_proj", True),
        ("compressed-tensors", "ignore", r"re:.*mlp\.gate$", "mlp.gate_proj", False),
        ("compressed-tensors", "ignore", r"re:.*mlp.gate", "mlp.gate_proj", True),
        ("compressed-tensors", "ignore", r"re:.*layers\.([0-3])\..*", "mlp.down_proj", True),
        ("compressed-tensors", "ignore", r"re:(?!.*experts).*", "mlp.down_proj", True),
        ("compressed-tensors", "ignore", r"re:(?!.*experts).*", "mlp.experts.0.down_proj", False),
    ],
)
def test_an_ignore_list_is_read_as_vllm_reads_it(method, key, entry, module, skipped):
    scheme = {"num_bits": 8, "type": "float", "strategy": "tensor"}
    groups = {"config_groups": {"a": {"targets": ["Linear"], "weights": scheme}}} if "-" in method else {}
    more = {"bits": 4} if method == "awq" else {"load_in_8bit": True} if method == "bitsandbytes" else groups
    quantisation = read(method, **{key: [entry]}, **more)
    assert quantisation.scheme_of(f"model.layers.3.{module}").plain is skipped


@pytest.mark.parametrize("entry", ["visual", "model.visual*", "re:.*visual.*", "re:model\\.visual"])
def test_an_encoder_is_named_with_or_without_its_wrapper(entry):
    quantisation = read("modelopt", quant_algo="FP8", ignore=[entry])
    assert quantisation.scheme_of("visual.blocks.0.attn.qkv").plain
    assert quantisation.scheme_of("vision_tower.encoder.layers.0.mlp.fc1").plain
    assert not quantisation.scheme_of("model.layers.0.mlp.down_proj").plain


def test_only_the_layers_that_a_list_names_stay_in_the_type_of_the_model():
    some = read("fp8", modules_to_not_convert=["model.layers.1.mlp.down_proj"])
    assert size(some, layers=(0, 1, 2)) == 3 * (ELEMENTS + 8) + ELEMENTS - 8
    assert size(some, layers=range(2, 5)) == 3 * (ELEMENTS + 8)
    assert size(some, GATE, layers=range(3)) == 3 * (ELEMENTS + 8)


@pytest.mark.parametrize(("ranks", "block"), [(2, 128), (4, 64), (8, 32)])
def test_blocks_of_experts_shrink_where_they_do_not_divide_a_ranks_share(ranks, block):
    width = 768 // ranks
    blocks = -(-4096 // block) * -(-width // block)
    fp8 = read("fp8", weight_block_size=[128, 128])
    assert size(fp8, EXPERT, columns=width) == 4096 * width + 4 * blocks
    assert size(fp8, columns=width) == 4096 * width + 4 * 32 * -(-width // 128)


def test_ranks_may_not_cut_the_blocks_of_a_layer_but_may_refine_those_of_an_expert():
    fp8 = read("fp8", weight_block_size=[128, 128], ignored_layers=["lm_head"])
    paths = ("model.layers.0.mlp.down_proj", "model.layers.0.mlp.experts.0.down_proj", "lm_head")
    splits = {
        path: [n for n in (1, 2, 4, 8, 16, 32) if blocks_divide(fp8, 768, n, path=path, expert="experts" in path)]
        for path in paths
    }
    assert list(splits.values()) == [[1, 2], [1, 2, 4, 8], [1, 2, 4, 8, 16, 32]]


def test_groups_with_targets_give_each_module_its_scheme():
    groups = {
        "group_0": {"targets": ["re:.*experts.*"], "format": "nvfp4-pack-quantized",
                    "weights": {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}},
        "group_1": {"targets": ["Linear"], "format": "float-quantized",
                    "weights": {"num_bits": 8, "type": "float", "strategy": "channel"}},
        "group_2": {"targets": ["LlamaAttention"], "weights": None},
    }  # fmt: skip
    mixed = read("compressed-tensors", config_groups=groups, ignore=["re:.*gate_proj"])
    assert size(mixed) == ELEMENTS + 4096 * 4
    assert size(mixed, EXPERT) == ELEMENTS // 2 + 4096 * 128 + 8
    assert size(mixed, GATE) == 2 * ELEMENTS
    assert (mixed.bits, mixed.head) == (8, False)


def test_modelopt_gives_each_layer_its_algorithm_and_the_rest_none():
    layers = {"model.layers.0.mlp.down_proj": {"quant_algo": "FP8"},
              **{f"model.layers.1.mlp.experts.{i}.down_proj": {"quant_algo": "NVFP4", "group_size": 16}
                 for i in range(64)}}  # fmt: skip
    mixed = read("modelopt", quant_algo="MIXED_PRECISION", quantized_layers=layers)
    assert size(mixed, layers=(0, 1)) == ELEMENTS + 8 + 2 * ELEMENTS
    assert size(mixed, EXPERT, layers=(1,)) == ELEMENTS // 2 + 4096 * 128 + 8


def test_gptq_changes_or_leaves_out_the_modules_of_its_rules():
    rules = {"-:.*self_attn.*": {}, r"+:.*\.[01]\..*down_proj": {"bits": 8, "group_size": 32}}
    quantisation = read("gptq", bits=4, group_size=128, sym=True, dynamic=rules)
    assert size(quantisation, "model.layers.{i}.self_attn.q_proj") == 2 * ELEMENTS
    assert size(quantisation, layers=(1, 2)) == ELEMENTS + 4096 * 64 * 2 + ELEMENTS // 2 + 4096 * 16 * 2


def test_gpt_oss_and_deepseek_v4_store_only_their_experts_in_four_bits():
    assert size(read("mxfp4")) == 2 * ELEMENTS
    v4 = quantisation_of({"expert_dtype": "fp4", "quantization_config": {"quant_method": "fp8"}})
    assert size(v4) == ELEMENTS + 8
    assert size(v4, EXPERT, layout="checkpoint") == ELEMENTS // 2 + ELEMENTS // 32


def test_the_quantisation_of_a_multimodal_model_may_stand_with_its_text():
    assert quantisation_of({"text_config": {"quantization_config": {"quant_method": "fp8"}}}).bits == 8


@pytest.mark.parametrize(
    ("stated", "names"),
    [
        ({"quant_method": "gguf"}, "GGUF"),
        ({"quant_method": "quark"}, "AMD Quark"),
        ({"quant_method": "fp8", "bits": 4}, "bits"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "static"}, "activation_scheme"),
        ({"quant_method": "fp8", "weight_block_size": [0, 128]}, "weight_block_size"),
        ({"quant_method": "awq", "bits": 3}, "bits"),
        ({"quant_method": "awq", "bits": True}, "bits"),
        ({"quant_method": "gptq", "bits": 4, "group_size": -7}, "group_size"),
        ({"quant_method": "bitsandbytes"}, "load_in_4bit"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": True}, "exactly one"),
        ({"quant_method": "modelopt", "quant_algo": "W8A8_SQ"}, "quant_algo"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 32}, "group_size"),
        ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}, "quantized_layers"),
        ({"quant_method": "compressed-tensors"}, "config_groups"),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {
            "a": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float"}}}}, "format"),
        ({"quant_method": "compressed-tensors", "config_groups": {
            "a": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "float", "strategy": "group",
                                                     "group_size": 16}}}}, "NVFP4"),
        ({"quant_method": "fp8", "modules_to_not_convert": "lm_head"}, "list of names"),
        ({"quant_method": "fp8", "modules_to_not_convert": [3]}, "unquantised"),
        ({"quant_method": "fp8", "modules_to_not_convert": ["re:("]}, "not closed"),
        ({"quant_method": "fp8", "modules_to_not_convert": ["re:" + "(" * 300]}, "nested"),
        ({"quant_method": "fp8", "modules_to_not_convert": ["re:((a{99}){99}){99}"]}, "states"),
    ],
)  # fmt: skip
def test_an_unknown_or_contradicting_form_is_refused_in_one_line(stated, names):
    with pytest.raises(BadInput, match=names) as refused:
        quantisation_of({"quantization_config": stated})
    assert "\n" not in str(refused.value)


def test_a_type_in_which_vllm_does_not_run_the_format_is_refused():
    with pytest.raises(BadInput, match=r"float16.*mxfp4.*bfloat16"):
        quantisation_of({"torch_dtype": "float16", "quantization_config": {"quant_method": "mxfp4"}})


@pytest.mark.parametrize(
    ("stated", "want"),
    [
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8, "type": "float"}}, "fp8"),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": None}, "auto"),
        ({"quant_method": "modelopt", "kv_cache_quant_algo": "FP8"}, "fp8"),
        ({"quant_algo": "NVFP4", "quantization": {"kv_cache_quant_algo": "FP8"}}, "fp8"),
        ({"quant_method": "modelopt", "kv_cache_scheme": {"num_bits": 8, "type": "float", "dynamic": False}}, "fp8"),
        ({"quant_method": "fp8", "kv_cache_scheme": {"num_bits": 8}}, "auto"),
        (None, "auto"),
    ],
)
def test_a_checkpoint_may_switch_its_cache_to_fp8(stated, want):
    assert kv_cache_dtype_of({"quantization_config": stated}) == want


SCHEMES = [
    read("fp8"),
    read("fp8", weight_block_size=[128, 128]),
    read("awq", bits=4),
    read("mxfp4"),
    read("mxfp8"),
    read("gptq", bits=8, group_size=32),
    read("modelopt", quant_algo="NVFP4"),
    online_quantisation("bitsandbytes"),
]
sizes = st.integers(1, 64).map(lambda n: 128 * n)


@given(st.sampled_from(SCHEMES), sizes, sizes, st.sampled_from((1, 2, 4, 8)))
def test_the_ranks_together_hold_at_least_the_whole_and_never_more_than_two_bytes_an_element(q, rows, columns, ranks):
    whole = size(q, EXPERT, rows=rows, columns=columns, layout="checkpoint")
    assert whole <= 2 * rows * columns
    assert size(q, EXPERT, rows=rows, columns=columns) >= whole
    assume(columns % ranks == 0)
    assert ranks * size(q, EXPERT, rows=rows, columns=columns // ranks, layout="checkpoint") >= whole


@given(st.sampled_from((4, 8)), sizes, sizes, st.sampled_from((32, 64, 128)))
def test_more_bits_or_finer_groups_never_take_less(bits, rows, columns, group):
    fewer, more = (read("gptq", bits=b, group_size=g).main for b, g in ((4, 2 * group), (bits, group)))
    assert matrix_bytes(fewer, rows, columns) <= matrix_bytes(more, rows, columns)


entries = st.text(max_size=30) | st.text("re:.*[](){}|\\^$?+0a", max_size=40) | st.integers() | st.none()


@given(st.lists(entries, max_size=8), st.sampled_from(("names", "parts", "components")), st.booleans())
def test_any_list_of_modules_is_read_or_refused(listed, reading, patterns):
    with contextlib.suppress(BadInput):
        module_names("list", listed, reading=reading, patterns=patterns).match("model.layers.3.mlp.experts.0.up_proj")


@pytest.mark.parametrize(
    "hostile",
    [
        ["re:" + "(a+)+" * 20 + "$"] * 1,
        [f"re:{'.*' * 20}x{n}$" for n in range(30)],
        [f"{'*a' * 30}{n}" for n in range(100)],
        [f"model.layers.{n % 61}.mlp.experts.{n}.up_proj" for n in range(20_000)],
        [f"part{n}" for n in range(500)],
    ],
)
@pytest.mark.parametrize("method", ["fp8", "modelopt"])
def test_a_hostile_list_takes_bounded_time(hostile, method):
    started = time.process_time()
    with contextlib.suppress(BadInput):
        size(read(method, ignored_layers=hostile, exclude_modules=hostile), EXPERT, layers=range(61))
    assert time.process_time() - started < 20


def test_an_unknown_method_has_a_way_out():
    with pytest.raises(BadInput) as refused:
        quantisation_of({"quantization_config": {"quant_method": "quip"}})
    assert refused.value.way_out.startswith("supply the weights per GPU with --weights-gib")
