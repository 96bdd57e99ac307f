"""Checked reading of the fields of a ``config.json``: present, of the right type, within sane bounds."""

from __future__ import annotations

from collections.abc import Mapping

from sizing.errors import BadInput

LIMITS = {
    "hidden_size": 1 << 17,
    "num_hidden_layers": 1024,
    "num_attention_heads": 1024,
    "num_key_value_heads": 1024,
    "head_dim": 4096,
    "intermediate_size": 1 << 20,
    "moe_intermediate_size": 1 << 20,
    "shared_expert_intermediate_size": 1 << 20,
    "vocab_size": 1 << 22,
    "draft_vocab_size": 1 << 22,
    "truncated_vocab_size": 1 << 22,
    "target_hidden_size": 1 << 17,
    "num_aux_layers": 64,
    "num_aux_hidden_states": 64,
    "medusa_num_heads": 64,
    "medusa_num_layers": 64,
    "max_position_embeddings": 1 << 24,
    "num_experts": 4096,
    "num_local_experts": 4096,
    "num_experts_per_tok": 4096,
    "decoder_sparse_step": 1024,
    "moe_num_experts": 4096,
    "moe_k": 4096,
    "moe_num_shared_experts": 256,
    "moe_layer_interval": 1024,
    "rotary_dim": 4096,
    "intermediate_size_mlp": 1 << 20,
    "interleave_moe_layer_step": 1024,
    "no_rope_layer_interval": 1024,
    "attention_chunk_size": 1 << 24,
    "ffn_hidden_size": 1 << 20,
    "expert_ffn_hidden_size": 1 << 20,
    "zero_expert_num": 4096,
    "moe_topk": 4096,
    "o_lora_rank": 1 << 16,
    "o_groups": 1024,
    "hc_mult": 64,
    "num_hash_layers": 1024,
    "swa_num_key_value_heads": 1024,
    "swa_num_attention_heads": 1024,
    "swa_head_dim": 4096,
    "swa_v_head_dim": 4096,
    "q_lora_rank": 1 << 16,
    "kv_lora_rank": 1 << 16,
    "qk_nope_head_dim": 4096,
    "qk_rope_head_dim": 4096,
    "v_head_dim": 4096,
    "n_routed_experts": 4096,
    "n_shared_experts": 256,
    "first_k_dense_replace": 1024,
    "moe_layer_freq": 1024,
    "num_nextn_predict_layers": 64,
    "index_topk": 1 << 20,
    "index_n_heads": 1024,
    "index_head_dim": 4096,
    "index_topk_freq": 1024,
    "index_skip_topk_offset": 1024,
    "linear_num_key_heads": 1024,
    "linear_num_value_heads": 1024,
    "linear_key_head_dim": 4096,
    "linear_value_head_dim": 4096,
    "linear_conv_kernel_dim": 64,
    "full_attention_interval": 1024,
    "mtp_num_hidden_layers": 64,
    "sliding_window": 1 << 24,
    "sliding_window_pattern": 1024,
    "_sliding_window_pattern": 1024,
    "max_window_layers": 1024,
    "global_head_dim": 4096,
    "num_global_key_value_heads": 1024,
    "num_kv_shared_layers": 1024,
    "hidden_size_per_layer_input": 1 << 16,
    "vocab_size_per_layer_input": 1 << 22,
    "top_k_experts": 4096,
    "expert_intermediate_size": 1 << 20,
    "mamba_d_state": 4096,
    "index_kpool": 1024,
    "attn_rotary_emb": 4096,
    "mamba_d_conv": 64,
    "mamba_expand": 64,
    "mamba_dt_rank": 1 << 16,
    "mamba_n_heads": 4096,
    "mamba_d_head": 4096,
    "mamba_n_groups": 1024,
    "mamba_d_ssm": 1 << 17,
    "shared_intermediate_size": 1 << 20,
    "attn_layer_period": 1024,
    "attn_layer_offset": 1024,
    "expert_layer_period": 1024,
    "expert_layer_offset": 1024,
    "ssm_state_size": 4096,
    "conv_kernel": 64,
    "mamba_num_heads": 4096,
    "mamba_head_dim": 4096,
    "n_groups": 1024,
    "moe_latent_size": 1 << 17,
    "moe_shared_expert_intermediate_size": 1 << 20,
    "state_size": 4096,
    "time_step_rank": 1 << 16,
    "num_heads": 4096,
    "expand": 64,
    "short_conv_kernel_size": 64,
    "num_shared_experts": 256,
    "num_experts_per_token": 4096,
    "model_max_length": 1 << 24,
    "conv_L_cache": 64,
    "conv_dim": 1 << 17,
    "block_ff_dim": 1 << 20,
    "block_multiple_of": 1 << 20,
    "num_dense_layers": 1024,
    "num_mem_blocks": 64,
    "adapter_rank": 1 << 16,
    "mamba_ngroups": 1024,
    "mamba_headdim": 4096,
    "n_mamba_heads": 4096,
    "attention_hidden_size": 1 << 17,
    "attention_head_dim": 4096,
    "laurel_rank": 1 << 16,
    "altup_num_inputs": 64,
    "depth": 1024,
    "projection_dim": 1 << 17,
    "max_num_tiles": 256,
    "num_global_layers": 1024,
    "attention_heads": 1024,
    "n_heads_in_group": 1024,
    "position_embedding_size": 1 << 20,
    "vision_soft_tokens_per_image": 1 << 20,
    "pooling_kernel_size": 64,
    "num_labels": 1 << 16,
    "type_vocab_size": 1 << 16,
    "word_embed_proj_dim": 1 << 17,
    "num_ln_in_parallel_attn": 2,
    "expansion_ratio": 64,
    "embed_dim": 1 << 17,
    "encoder_attention_heads": 1024,
    "encoder_ffn_dim": 1 << 20,
    "encoder_layers": 1024,
    "d_model": 1 << 17,
    "decoder_layers": 1024,
    "decoder_attention_heads": 1024,
    "decoder_ffn_dim": 1 << 20,
    "image_size": 16384,
    "in_channels": 64,
    "in_chans": 64,
    "init_pos_emb_height": 4096,
    "init_pos_emb_width": 4096,
    "max_dynamic_patch": 1024,
    "max_source_positions": 1048576,
    "max_target_positions": 1048576,
    "mlp_ratio": 64,
    "mm_tokens_per_image": 1048576,
    "num_channels": 64,
    "num_mel_bins": 4096,
    "num_position_embeddings": 1048576,
    "out_hidden_size": 1 << 17,
    "patch_size": 1024,
    "projector_input_dim": 1 << 17,
    "projector_output_dim": 1 << 17,
    "scale_factor": 64,
    "spatial_merge_size": 64,
    "temporal_patch_size": 64,
    "vision_output_dim": 1 << 17,
}
"""Largest value that any known model could have; above it the file is wrong."""
BFLOAT16_FORMATS = frozenset({"fp8", "modelopt", "modelopt_fp4", "modelopt_mixed", "mxfp4", "mxfp8"})
"""Formats whose checkpoints vLLM runs in bfloat16 when the file states no type."""


def whole(config: Mapping[str, object], key: str, default: int | None = None) -> int:
    """Return the positive whole number ``key``; BadInput when missing without default, mistyped or absurd."""
    value = config.get(key)
    if value is None:
        if default is None:
            raise BadInput(f"config.json: {key}", "missing", way_out="take the complete config.json of the model")
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadInput(f"config.json: {key}", f"expected a whole number, got {str(value)[:40]!r}")
    if not 0 < value <= LIMITS[key]:
        raise BadInput(f"config.json: {key}", f"{value}", limit=f"1 to {LIMITS[key]}")
    return value


def count(config: Mapping[str, object], key: str, default: int = 0) -> int:
    """Return the whole number ``key``, where 0 and absence mean none; BadInput when mistyped or absurd."""
    value = config.get(key, default)
    return 0 if value is None or (value == 0 and type(value) is int) else whole(config, key, default or None)


def flag(config: Mapping[str, object], key: str, default: bool) -> bool:
    """Return the boolean ``key``; null counts as absent."""
    value = config.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise BadInput(f"config.json: {key}", f"expected true or false, got {str(value)[:40]!r}")
    return value


def dtype_of(config: Mapping[str, object]) -> str:
    """Return the type of the unquantised weights: float16, bfloat16 or float32 (which vLLM loads as bfloat16).

    A file that states none is loaded in bfloat16 where its format runs in no other type.
    """
    value = config.get("torch_dtype", config.get("dtype"))
    if value is None:
        stated = config.get("quantization_config")
        if isinstance(stated, Mapping) and str(stated.get("quant_method")) in BFLOAT16_FORMATS:
            return "bfloat16"
        raise BadInput("config.json: torch_dtype", "missing", way_out="state bfloat16 or float16")
    names = {"float16": "float16", "half": "float16", "bfloat16": "bfloat16", "float32": "bfloat16"}
    if not isinstance(value, str) or value not in names:
        raise BadInput("config.json: torch_dtype", f"{str(value)[:40]!r}", limit=", ".join(names))
    return names[value]


def max_positions(config: Mapping[str, object]) -> int:
    """Return the longest context in tokens: yarn and linear scaling multiply it, llama3 scaling does not."""
    length = whole(config, "max_position_embeddings")
    scaling = config.get("rope_scaling") or config.get("rope_parameters")
    if not isinstance(scaling, Mapping):
        return length
    kind = scaling.get("rope_type", scaling.get("type"))
    factor, original = scaling.get("factor"), scaling.get("original_max_position_embeddings")
    if str(config.get("model_type")).startswith("gemma3"):
        return length  # the file states the scaled length already
    if str(kind) in {"yarn", "linear", "dynamic"}:
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor <= 1024:
            raise BadInput("config.json: rope_scaling.factor", f"{factor!r}", limit="a number up to 1024")
        base = original if kind == "yarn" and isinstance(original, int) and original > 0 else length
        return max(length, int(base * factor))
    return length
