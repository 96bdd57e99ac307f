"""Language models that also see: the text tower of its own family, and beside it a vision tower.

The language model (text tower) is built through the registry from the nested ``text_config`` (``llm_config`` in
InternVL; flat files describe it themselves), under the class that ``model_type`` names where the file names none. Type
and quantisation are those of the outer file. The cache is that of the language model: images become tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from sizing.errors import BadInput
from sizing.models.blocks import vision
from sizing.models.blocks.encoder_parts import Encoder, with_class_defaults
from sizing.models.blocks.parts import Identity, architecture_of
from sizing.models.blocks.registry import family_of
from sizing.models.spec import ModelSpec

ENCODERS: Mapping[str, Callable[[Mapping[str, object], int], Encoder]] = {
    "DotsOCRForCausalLM": vision.dots_ocr,
    "Gemma3ForConditionalGeneration": vision.gemma3,
    "Gemma4ForConditionalGeneration": vision.gemma4,
    "Glm4vForConditionalGeneration": vision.glm4v,
    "Glm4vMoeForConditionalGeneration": vision.glm4v,
    "Idefics3ForConditionalGeneration": vision.idefics3,
    "InternVLChatModel": vision.internvl,
    "KimiK25ForConditionalGeneration": vision.moonvit,
    "KimiVLForConditionalGeneration": vision.moonvit,
    "Llama4ForConditionalGeneration": vision.llama4,
    "LlavaForConditionalGeneration": vision.llava,
    "LlavaNextForConditionalGeneration": vision.llava,
    "LlavaOnevisionForConditionalGeneration": vision.llava_onevision,
    "Mistral3ForConditionalGeneration": vision.mistral3,
    "PaliGemmaForConditionalGeneration": vision.paligemma,
    "Phi3VForCausalLM": vision.phi3v,
    "Qwen2AudioForConditionalGeneration": vision.qwen2_audio,
    "Qwen2VLForConditionalGeneration": vision.qwen2_vl,
    "Qwen2_5_VLForConditionalGeneration": vision.qwen2_5_vl,
    "Qwen3VLForConditionalGeneration": vision.qwen3_vl,
    "Qwen3VLMoeForConditionalGeneration": vision.qwen3_vl,
    "Qwen3_5ForConditionalGeneration": vision.qwen3_vl,
    "Qwen3_5MoeForConditionalGeneration": vision.qwen3_vl,
    "SmolVLMForConditionalGeneration": vision.idefics3,
}
ARCHITECTURES = tuple(ENCODERS)
TEXT_CLASSES = {
    "deepseek_v2": "DeepseekV2ForCausalLM",
    "deepseek_v3": "DeepseekV3ForCausalLM",
    "dots_ocr": "Qwen2ForCausalLM",
    "gemma": "GemmaForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "gemma4_text": "Gemma4ForCausalLM",
    "glm": "GlmForCausalLM",
    "glm4": "Glm4ForCausalLM",
    "glm4v_moe_text": "Glm4MoeForCausalLM",
    "glm4v_text": "Glm4ForCausalLM",
    "gpt_oss": "GptOssForCausalLM",
    "granite": "GraniteForCausalLM",
    "internlm2": "InternLM2ForCausalLM",
    "kimi_k2": "DeepseekV3ForCausalLM",
    "llama": "LlamaForCausalLM",
    "llama4_text": "Llama4ForCausalLM",
    "ministral3": "MistralForCausalLM",
    "mistral": "MistralForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "phi3_v": "Phi3ForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen2_5_vl": "Qwen2ForCausalLM",
    "qwen2_5_vl_text": "Qwen2ForCausalLM",
    "qwen2_vl": "Qwen2ForCausalLM",
    "qwen2_vl_text": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_5_moe_text": "Qwen3_5MoeForCausalLM",
    "qwen3_5_text": "Qwen3_5ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "qwen3_vl_moe_text": "Qwen3MoeForCausalLM",
    "qwen3_vl_text": "Qwen3ForCausalLM",
}
"""``model_type`` of a text part -> the class whose weights it has."""
BASE_TYPES = {
    "dots_ocr": "qwen2",
    "qwen2_5_vl": "qwen2",
    "qwen2_5_vl_text": "qwen2",
    "qwen2_vl": "qwen2",
    "qwen2_vl_text": "qwen2",
    "qwen3_vl_moe_text": "qwen3_moe",
    "qwen3_vl_text": "qwen3",
}
"""Types of text parts whose fields are read as those of the language model they come from."""
MROPE = (vision.qwen2_vl, vision.qwen2_5_vl, vision.qwen3_vl, vision.glm4v)
"""Encoders whose language models number positions in three dimensions (``mrope_section``)."""
MROPE_REACH = 4
"""vLLM keeps this many times the context in the rotary cache of positions in three dimensions."""
TEXT_KEYS = ("text_config", "llm_config", "language_config")


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the language model with the weights and the profile run of the encoder."""
    architecture = architecture_of(config)
    text = text_model(config, identity)
    encoder = ENCODERS[architecture](config, text.hidden_size)
    return replace(
        text,
        architecture=architecture,
        family="multimodal",
        weights=(*text.weights, *(replace(group, encoder=True) for group in encoder.weights)),
        encoder_run=encoder.run,
        rotary_positions=_rotary_rows(text, config),
    )


def _rotary_rows(text: ModelSpec, config: Mapping[str, object]) -> int | None:
    """Return the rows of a rotary cache: positions in three dimensions reach further (``MRotaryEmbedding``).

    Gemma 3 has one table of the context and one that is ``factor`` times as long.
    """
    if text.rotary_positions is None and ENCODERS[architecture_of(config)] in MROPE:
        return MROPE_REACH * text.max_position_embeddings
    inner = text_config(config)
    scaling = inner.get("rope_scaling") or inner.get("rope_parameters")
    factor = scaling.get("factor") if isinstance(scaling, Mapping) else None
    if inner["model_type"] == "gemma3_text" and isinstance(factor, int | float) and 1 <= factor <= 1024:
        return int(text.max_position_embeddings * (1 + factor) / 2)
    return text.rotary_positions


def text_model(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Build the language model by its own family."""
    inner = text_config(config)
    return family_of(inner)(inner, identity)


def text_config(config: Mapping[str, object]) -> Mapping[str, object]:
    """Return the configuration of the language model as a file of its own would state it."""
    stated = next((config[key] for key in TEXT_KEYS if config.get(key) is not None), None)
    if stated is not None and not isinstance(stated, Mapping):
        raise BadInput("config.json: text_config", f"expected an object, got {type(stated).__name__}")
    inner = dict(with_class_defaults(stated)) if stated is not None else _flat(config)
    kind = str(inner.get("model_type"))
    if kind not in TEXT_CLASSES:
        raise BadInput(
            "config.json: text_config.model_type", f"{kind[:40]!r} is not modelled as a text tower",
            way_out="modelled: " + ", ".join(sorted(TEXT_CLASSES)),
        )  # fmt: skip
    inner["architectures"] = [TEXT_CLASSES[kind]]
    inner["model_type"] = BASE_TYPES.get(kind, kind)
    for key in ("torch_dtype", "dtype", "tie_word_embeddings"):
        if config.get(key) is not None:
            inner[key] = config[key]
    for key in ("quantization_config", "compression_config"):
        if inner.get(key) is None and config.get(key) is not None:
            inner[key] = config[key]
    return inner


def _flat(config: Mapping[str, object]) -> dict[str, object]:
    """Return a file that describes the language model itself, without the fields of the encoder."""
    return {key: value for key, value in config.items() if key != "vision_config"}
