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
    "max_position_embeddings": 1 << 24,
    "num_experts": 4096,
    "num_local_experts": 4096,
    "num_experts_per_tok": 4096,
    "decoder_sparse_step": 1024,
}
"""Largest value that any known model could have; above it the file is wrong."""


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


def flag(config: Mapping[str, object], key: str, default: bool) -> bool:
    """Return the boolean ``key``; null counts as absent."""
    value = config.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise BadInput(f"config.json: {key}", f"expected true or false, got {str(value)[:40]!r}")
    return value


def dtype_of(config: Mapping[str, object]) -> str:
    """Return the type of the unquantised weights: float16, bfloat16 or float32 (which vLLM loads as bfloat16)."""
    value = config.get("torch_dtype", config.get("dtype"))
    if value is None:
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
    if str(kind) in {"yarn", "linear", "dynamic"}:
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor <= 1024:
            raise BadInput("config.json: rope_scaling.factor", f"{factor!r}", limit="a number up to 1024")
        base = original if kind == "yarn" and isinstance(original, int) and original > 0 else length
        return max(length, int(base * factor))
    return length


def refuse_sliding_window(config: Mapping[str, object]) -> None:
    """Refuse layers with a sliding window: their cache does not grow with every token."""
    window = config.get("sliding_window")
    off_by_default = {"qwen2", "qwen3", "qwen2_moe", "qwen3_moe"}
    used = config.get("use_sliding_window", str(config.get("model_type")) not in off_by_default)
    kinds = config.get("layer_types")
    mixed = isinstance(kinds, list) and any(kind != "full_attention" for kind in kinds)
    if mixed or (window is not None and used):
        raise BadInput(
            "config.json: sliding_window", f"{window!r} with layers that use it is not yet modelled",
            way_out="set sliding_window to null in a copy of the file to plan with full-length KV, an upper bound",
        )  # fmt: skip
