"""Vision encoders by the model that has them: what each adds to the weights of one rank, and its profile run.

An encoder is a function of the whole configuration (text fields where the projector needs them). Sizes come from
``vision_config``; what a file leaves out is the default of its configuration class (``config_defaults.json``).
The largest image is what the processor of the model takes by default (``largest_images.json``).
"""

from __future__ import annotations

from sizing.errors import BadInput
from sizing.models.blocks.encoder_parts import (
    Encoder,
    EncoderBlocks,
    encoder_blocks,
    layers_up_to,
    linear,
    part,
    patches,
    plain,
    with_class_defaults,
)
from sizing.models.blocks.fields import flag, whole
from sizing.models.blocks.vision_parts import (
    PIXELS,
    Config,
    clip,
    encoder_run,
    inner_width,
    largest_image,
    layers_named,
    llava_blocks,
    patch_columns,
    siglip,
    unquantised,
    whole_attention,
)
from sizing.models.spec import EncoderRun
from sizing.models.weight_groups import WeightGroup

CORNERS = 8
"""Four neighbours of every position and their weighted copies (``fast_pos_embed_interpolate``)."""


QWEN_BLOCK = "visual.blocks.{i}."


def qwen2_vl(config: Config, _text_hidden: int) -> Encoder:
    """Qwen2-VL: blocks with LayerNorm and biases, an MLP of ``mlp_ratio`` x width, merged 2 x 2."""
    vision = with_class_defaults(part(config, "vision_config"), "qwen2_vl_vision")
    hidden = whole(vision, "embed_dim")
    width = hidden * whole(vision, "mlp_ratio")
    blocks = EncoderBlocks(
        layers=whole(vision, "depth"), hidden=hidden, width=width, heads=whole(vision, "num_heads"), path=QWEN_BLOCK,
        names=("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"),
    )  # fmt: skip
    return _qwen(vision, blocks, out=whole(vision, "hidden_size"), merger_norm=2 * hidden, image="qwen2_vl")


def qwen2_5_vl(config: Config, _text_hidden: int) -> Encoder:
    """Qwen2.5-VL: gated MLP and RMSNorm; biases everywhere."""
    vision = with_class_defaults(part(config, "vision_config"), "qwen2_5_vl_vision")
    hidden = whole(vision, "hidden_size")
    blocks = EncoderBlocks(
        layers=whole(vision, "depth"), hidden=hidden, width=whole(vision, "intermediate_size"), gated=True,
        heads=whole(vision, "num_heads"), vectors=2 * hidden, path=QWEN_BLOCK,
        names=("attn.qkv", "attn.proj", "mlp.gate_up_proj", "mlp.down_proj"),
    )  # fmt: skip
    return _qwen(vision, blocks, out=whole(vision, "out_hidden_size"), merger_norm=hidden, image="qwen2_vl")


def _qwen(vision: Config, blocks: EncoderBlocks, *, out: int, merger_norm: int, image: str) -> Encoder:
    merge = whole(vision, "spatial_merge_size") ** 2
    merged = blocks.hidden * merge
    weights = (
        plain("patch_embed", blocks.hidden, patch_columns(vision)),
        *encoder_blocks(blocks),
        plain("merger_norm", merger_norm),
        *linear("visual.merger.mlp.0", merged, merged, "out", bias=True),
        *linear("visual.merger.mlp.2", out, merged, "in", bias=True),
    )
    return Encoder(
        weights=weights, run=encoder_run(image, blocks, merge=merge, out=out, extra=PIXELS * patch_columns(vision))
    )


def qwen3_vl(config: Config, _text_hidden: int) -> Encoder:
    """Qwen3-VL and Qwen3.5: learned positions, a merger after the last layer and one for each deepstack layer."""
    vision = with_class_defaults(part(config, "vision_config"), "qwen3_vl_vision")
    hidden, out = whole(vision, "hidden_size"), whole(vision, "out_hidden_size")
    merge = whole(vision, "spatial_merge_size") ** 2
    blocks = EncoderBlocks(
        layers=whole(vision, "depth"), hidden=hidden, width=whole(vision, "intermediate_size"),
        heads=whole(vision, "num_heads"), path=QWEN_BLOCK,
        names=("attn.qkv", "attn.proj", "mlp.linear_fc1", "mlp.linear_fc2"),
    )  # fmt: skip
    deep = layers_named(vision, "deepstack_visual_indexes")
    weights = [
        plain("patch_embed", hidden, patch_columns(vision) + 1),
        plain("positions", whole(vision, "num_position_embeddings"), hidden),
        *encoder_blocks(blocks),
        plain("merger_norms", 2 * hidden + 2 * hidden * merge * deep),
    ]
    for path in ("visual.merger.", *(f"visual.deepstack_merger_list.{index}." for index in range(deep))):
        weights += linear(path + "linear_fc1", hidden * merge, hidden * merge, "out", bias=True)
        weights += linear(path + "linear_fc2", out, hidden * merge, "in", bias=True)
    extra = PIXELS * patch_columns(vision) + CORNERS * hidden
    return Encoder(
        weights=tuple(weights), run=encoder_run("qwen3_vl", blocks, merge=merge, out=out * (1 + deep), extra=extra)
    )


def glm4v(config: Config, _text_hidden: int) -> Encoder:
    """GLM-4.1V and 4.5V: blocks without biases whose MLP is as wide as the text, a convolution that merges 2 x 2."""
    vision = with_class_defaults(part(config, "vision_config"), "glm4v_vision")
    hidden, out, wide = (whole(vision, key) for key in ("hidden_size", "out_hidden_size", "intermediate_size"))
    merge = whole(vision, "spatial_merge_size") ** 2
    blocks = EncoderBlocks(
        layers=whole(vision, "depth"), hidden=hidden, width=out, heads=whole(vision, "num_heads"), gated=True,
        qkv_bias=False, o_bias=False, mlp_bias=False, vectors=2 * hidden, path=QWEN_BLOCK,
        names=("attn.qkv", "attn.proj", "mlp.gate_up_proj", "mlp.down_proj"),
    )  # fmt: skip
    weights = (
        plain("patch_embed", hidden, patch_columns(vision) + 1),
        plain("positions", patches(vision), hidden),
        *encoder_blocks(blocks),
        plain("norms", 2 * hidden + 2 * out),
        plain("downsample", out, hidden * merge + 1),
        *linear("visual.merger.proj", out, out, "out"),
        *linear("visual.merger.gate_up_proj", 2 * wide, out, "out"),
        *linear("visual.merger.down_proj", out, wide, "in"),
    )
    return Encoder(
        weights=weights, run=encoder_run("glm4v", blocks, merge=merge, out=out, extra=PIXELS * patch_columns(vision))
    )


def dots_ocr(config: Config, _text_hidden: int) -> Encoder:
    """dots.ocr: gated blocks without biases, RMSNorm, a merger that is never quantised."""
    vision = part(config, "vision_config")
    hidden, out = whole(vision, "embed_dim"), whole(vision, "hidden_size")
    merge, bias = whole(vision, "spatial_merge_size") ** 2, flag(vision, "use_bias", False)
    blocks = EncoderBlocks(
        layers=whole(vision, "num_hidden_layers"), hidden=hidden, width=whole(vision, "intermediate_size"), gated=True,
        heads=whole(vision, "num_attention_heads"), qkv_bias=bias, o_bias=bias, mlp_bias=bias, vectors=2 * hidden,
        path="vision_tower.blocks.{i}.", names=("attn.qkv", "attn.proj", "mlp.fc13", "mlp.fc2"),
    )  # fmt: skip
    columns = whole(vision, "num_channels") * whole(vision, "patch_size") ** 2
    weights = (
        plain("patch_embed", hidden, columns + 2),
        *encoder_blocks(blocks),
        plain("norms", hidden * (2 + flag(vision, "post_norm", True))),
        *unquantised(linear("merger.mlp.0", hidden * merge, hidden * merge, "out", bias=True)),
        *unquantised(linear("merger.mlp.2", out, hidden * merge, "in", bias=True)),
    )
    return Encoder(weights=weights, run=encoder_run("dots_ocr", blocks, merge=merge, out=out, extra=PIXELS * columns))


def moonvit(config: Config, text_hidden: int) -> Encoder:
    """Kimi-VL, Kimi-K2.5: MoonViT is never quantised, and its projector is whole on every rank."""
    stated = part(config, "vision_config")
    bare = {key.removeprefix("vt_"): value for key, value in stated.items()}
    vision = with_class_defaults(bare, "moonvit")
    hidden, merge = whole(vision, "hidden_size"), 4
    blocks = EncoderBlocks(
        layers=whole(vision, "num_hidden_layers"), hidden=hidden, width=whole(vision, "intermediate_size"),
        heads=whole(vision, "num_attention_heads"), path="vision_tower.encoder.blocks.{i}.",
        names=("wqkv", "wo", "mlp.fc0", "mlp.fc1"),
    )  # fmt: skip
    positions = whole(vision, "init_pos_emb_height") * whole(vision, "init_pos_emb_width")
    weights = (
        plain("patch_embed", hidden, 3 * whole(vision, "patch_size") ** 2 + 1),
        plain("positions", positions, hidden),
        *unquantised(encoder_blocks(blocks)),
        plain("norms", 4 * hidden),
        plain("projector.linear_1", hidden * merge, hidden * merge + 1),
        plain("projector.linear_2", text_hidden, hidden * merge + 1),
    )
    return Encoder(weights=weights, run=encoder_run("moonvit", blocks, merge=merge, out=text_hidden))


def llama4(config: Config, text_hidden: int) -> Encoder:
    """Llama 4: the patch embedding is a split linear layer; pixel shuffle by an MLP, then one projection."""
    stated = {} if config.get("vision_config") is None else part(config, "vision_config")
    vision = with_class_defaults(stated, "llama4_vision_model")
    hidden = whole(vision, "hidden_size")
    inner, out = whole(vision, "projector_input_dim"), whole(vision, "projector_output_dim")
    blocks = EncoderBlocks(
        layers=whole(vision, "num_hidden_layers"), hidden=hidden, width=whole(vision, "intermediate_size"),
        heads=whole(vision, "num_attention_heads"), path="vision_model.model.layers.{i}.",
        names=("self_attn.qkv_proj", "self_attn.o_proj", "mlp.fc1", "mlp.fc2"),
    )  # fmt: skip
    columns = whole(vision, "num_channels") * whole(vision, "patch_size") ** 2
    adapter = "vision_model.vision_adapter.mlp."
    weights = (
        *linear("vision_model.patch_embedding.linear", hidden, columns, "out"),
        plain("class_and_norms", hidden, 5),
        plain("positions", patches(vision) + 1, hidden),
        *encoder_blocks(blocks),
        *linear(adapter + "fc1", inner, whole(vision, "intermediate_size"), "out"),
        *linear(adapter + "fc2", out, inner, "in"),
        *linear("multi_modal_projector.linear_1", text_hidden, whole(vision, "vision_output_dim"), "out"),
    )
    return Encoder(weights=weights, run=encoder_run("llama4", blocks, merge=4, out=text_hidden))


def gemma3(config: Config, text_hidden: int) -> Encoder:
    """Gemma 3: SigLIP, averaged to 256 embeddings, one projection that is whole on every rank."""
    vision = with_class_defaults(part(config, "vision_config"))
    blocks, weights = siglip(vision, whole(vision, "num_hidden_layers"), "vision_tower.vision_model.")
    weights += (plain("projection", blocks.hidden, text_hidden), plain("projection_norm", blocks.hidden))
    tokens = whole(config, "mm_tokens_per_image", 256)
    run = EncoderRun(
        tokens=tokens, positions=patches(vision), hidden=blocks.hidden, width=2 * blocks.width, out=text_hidden
    )
    return Encoder(weights=weights, run=run)


def gemma4(config: Config, text_hidden: int) -> Encoder:
    """Gemma 4: an encoder that is whole on every rank and never quantised, pooled, and one projection."""
    if config.get("audio_config") is not None:
        problem = "the audio tower of Gemma 4 is not modelled"
        raise BadInput("config.json: audio_config", problem, way_out="set it to null, or supply --weights-gib")
    vision = part(config, "vision_config")
    hidden, heads = whole(vision, "hidden_size"), whole(vision, "num_attention_heads")
    head_dim, width = whole(vision, "head_dim", max(1, hidden // heads)), whole(vision, "intermediate_size")
    layer = 4 * hidden * heads * head_dim + 3 * hidden * width + 4 * hidden + 2 * head_dim
    table = 2 * whole(vision, "position_embedding_size", 10240) + 3 * whole(vision, "patch_size", 16) ** 2
    weights = (
        plain("encoder", layer, copies=whole(vision, "num_hidden_layers")),
        plain("patch_embed", hidden, table),
        plain("projection", text_hidden, hidden),
    )
    tokens = whole(config, "vision_soft_tokens_per_image", 280)
    pooled = whole(vision, "pooling_kernel_size", 3) ** 2
    run = EncoderRun(tokens=tokens, positions=tokens * pooled, hidden=hidden, width=3 * width, out=text_hidden)
    return Encoder(weights=weights, run=run)


def qwen2_audio(config: Config, text_hidden: int) -> Encoder:
    """Qwen2-Audio: Whisper's encoder, whole on every rank, without a bias of k; one projection."""
    audio = with_class_defaults(part(config, "audio_config"), "qwen2_audio_encoder")
    hidden, width = whole(audio, "d_model"), whole(audio, "encoder_ffn_dim")
    sound = whole(audio, "max_source_positions")
    layer = 4 * hidden * hidden + 3 * hidden + 2 * hidden * width + hidden + width + 4 * hidden
    weights = (
        plain("encoder", layer, copies=whole(audio, "encoder_layers")),
        plain("conv1", hidden, 3 * whole(audio, "num_mel_bins") + 1),
        plain("conv2", hidden, 3 * hidden + 1),
        plain("positions_and_norm", sound + 2, hidden),
        plain("projection", text_hidden, hidden + 1),
    )
    run = EncoderRun(tokens=max(1, sound // 2), positions=sound, hidden=hidden, width=2 * width, out=text_hidden)
    return Encoder(weights=weights, run=run)


def phi3v(config: Config, text_hidden: int) -> Encoder:
    """Phi-3 vision: CLIP ViT-L/14 at 336 up to the layer before the last, a projector and a second embedding."""
    vision = with_class_defaults({}, "phi3_v_clip")
    blocks, weights = clip(vision, whole(vision, "num_hidden_layers") - 1, post_norm=False)
    wide = 4 * blocks.hidden
    table = WeightGroup(
        name="embed_tokens_vision", rows=whole(config, "vocab_size"), columns=text_hidden, split="vocabulary",
        place="every", linear=False,
    )  # fmt: skip
    weights += (
        table,
        plain("separators", 2 * wide),
        plain("projection_1", text_hidden, wide + 1),
        plain("projection_2", text_hidden, text_hidden + 1),
    )
    tiles = largest_image("phi3_v", "tiles")
    count = patches(vision)
    run = EncoderRun(
        tokens=count // 4 * tiles, positions=count * tiles, hidden=blocks.hidden, width=2 * blocks.width,
        out=text_hidden,
    )  # fmt: skip
    return Encoder(weights=weights, run=run)


def paligemma(config: Config, text_hidden: int) -> Encoder:
    """PaliGemma: SigLIP and one projection with bias that is whole on every rank."""
    vision = with_class_defaults(part(config, "vision_config"), "siglip_vision_model")
    blocks, weights = siglip(vision, whole(vision, "num_hidden_layers"), "vision_tower.vision_model.")
    width = whole(vision, "projection_dim", text_hidden)
    weights += (plain("projection", width, blocks.hidden + 1),)
    count = patches(vision)
    run = EncoderRun(tokens=count, positions=count, hidden=blocks.hidden, width=2 * blocks.width, out=text_hidden)
    return Encoder(weights=weights, run=run)


def llava(config: Config, text_hidden: int) -> Encoder:
    """LLaVA 1.5 and 1.6, Pixtral: CLIP, SigLIP or Pixtral blocks up to the layer used, two projections."""
    blocks, weights, tokens = llava_blocks(config)
    bias = flag(config, "multimodal_projector_bias", True)
    weights += linear("multi_modal_projector.linear_1", text_hidden, blocks.hidden, "out", bias=bias)
    weights += linear("multi_modal_projector.linear_2", text_hidden, text_hidden, "in", bias=bias)
    if config.get("architectures") != ["LlavaForConditionalGeneration"]:
        weights += (plain("image_newline", text_hidden),)
    return Encoder(weights=weights, run=_tiled(config, blocks, tokens, text_hidden))


def llava_onevision(config: Config, text_hidden: int) -> Encoder:
    """LLaVA-OneVision: no norm after the last block, and projections that are whole on every rank."""
    blocks, weights, tokens = llava_blocks({"vision_feature_layer": -1, **config}, post_norm=False)
    bias = flag(config, "multimodal_projector_bias", True)
    weights += (
        plain("linear_1", text_hidden, blocks.hidden + bias),
        plain("linear_2", text_hidden, text_hidden + bias),
        plain("image_newline", text_hidden),
    )
    return Encoder(weights=weights, run=_tiled(config, blocks, tokens, text_hidden))


def _tiled(config: Config, blocks: EncoderBlocks, tokens: int, text_hidden: int) -> EncoderRun:
    """An image is one tile, or a grid of at most four with an overview."""
    tiles = 5 if config.get("image_grid_pinpoints") else 1
    return EncoderRun(
        tokens=tokens * tiles,
        positions=tokens * tiles,
        hidden=blocks.hidden,
        width=inner_width(blocks),
        out=text_hidden,
    )


def mistral3(config: Config, text_hidden: int) -> Encoder:
    """Mistral Small 3.1: Pixtral blocks, a merger of 2 x 2 patches on every rank, two projections."""
    blocks, weights, tokens = llava_blocks({"vision_feature_layer": -1, **config})
    merge = whole(config, "spatial_merge_size", 2) ** 2
    bias = flag(config, "multimodal_projector_bias", False)
    weights += (plain("projector_norm", blocks.hidden), plain("patch_merger", blocks.hidden, blocks.hidden * merge))
    weights += linear("multi_modal_projector.linear_1", text_hidden, blocks.hidden, "out", bias=bias)
    weights += linear("multi_modal_projector.linear_2", text_hidden, text_hidden, "in", bias=bias)
    run = EncoderRun(
        tokens=tokens // merge, positions=tokens, hidden=blocks.hidden, width=inner_width(blocks), out=text_hidden
    )
    return Encoder(weights=weights, run=run)


def idefics3(config: Config, text_hidden: int) -> Encoder:
    """Idefics3 and SmolVLM: SigLIP blocks, pixel shuffle, one projection that is whole on every rank."""
    vision = with_class_defaults(part(config, "vision_config"), "idefics3_vision")
    blocks, weights = siglip(vision, whole(vision, "num_hidden_layers"), "model.vision_model.")
    scale = whole(config, "scale_factor", 2) ** 2
    weights += (plain("modality_projection", text_hidden, blocks.hidden * scale),)
    tiles = largest_image("idefics3", "tiles")
    count = patches(vision)
    run = EncoderRun(
        tokens=max(1, count // scale) * tiles, positions=count * tiles, hidden=blocks.hidden, width=2 * blocks.width,
        out=text_hidden,
    )  # fmt: skip
    return Encoder(weights=weights, run=run)


def internvl(config: Config, text_hidden: int) -> Encoder:
    """InternVL: InternViT with layer scales, pixel shuffle by half, a projector that is whole on every rank."""
    vision = part(config, "vision_config")
    hidden, heads = whole(vision, "hidden_size"), whole(vision, "num_attention_heads")
    norms = hidden if vision.get("norm_type") == "rms_norm" else 2 * hidden
    qk_norm = 2 * hidden if flag(vision, "qk_normalization", False) else 0
    blocks = EncoderBlocks(
        layers=layers_up_to(config, whole(vision, "num_hidden_layers"), "select_layer"), hidden=hidden, heads=heads,
        width=whole(vision, "intermediate_size"), qkv_bias=flag(vision, "qkv_bias", True),
        vectors=2 * norms + 2 * hidden + qk_norm, path="vision_model.encoder.layers.{i}.",
        names=("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"),
    )  # fmt: skip
    count = patches(vision)
    weights = (
        plain("patch_embed", hidden, 3 * whole(vision, "patch_size") ** 2 + 2),
        plain("positions", count + 1, hidden),
        *whole_attention(encoder_blocks(blocks), heads),
        plain("projector_norm", 8 * hidden),
        plain("projector_1", text_hidden, 4 * hidden + 1),
        plain("projector_2", text_hidden, text_hidden + 1),
    )
    tiles = whole(config, "max_dynamic_patch", 12) + flag(config, "use_thumbnail", True)
    run = EncoderRun(
        tokens=max(1, count // 4) * tiles, positions=(count + 1) * tiles, hidden=hidden, width=2 * blocks.width,
        out=text_hidden,
    )  # fmt: skip
    return Encoder(weights=weights, run=run)
