"""Settings of an engine as its log prints them: a dict, a ``Namespace(...)`` or ``name=value`` pairs.

Read key by key, not evaluated: the text may be cut or hold representations of objects. Only the outermost level counts;
a draft model's own ``model`` lies deeper.
"""

from __future__ import annotations

import re

Setting = str | int | float | bool

WORDS = ("model", "kv_cache_dtype", "quantization", "dtype", "speculative_model")
SWITCHES = ("enforce_eager", "enable_prefix_caching", "enable_expert_parallel", "enable_lora")
SHARES = ("gpu_memory_utilization", "cpu_offload_gb")
COUNTS = (
    "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "decode_context_parallel_size",
    "max_model_len", "max_seq_len", "max_num_seqs", "max_num_batched_tokens", "block_size", "max_loras",
    "max_lora_rank", "num_speculative_tokens", "kv_cache_memory_bytes", "num_gpu_blocks_override",
)  # fmt: skip
NAMES = (*WORDS, *SWITCHES, *SHARES, *COUNTS)
"""Arguments of vLLM that decide its memory, by their kind; ``max_seq_len`` is how the engine line calls the length."""
OPENING, CLOSING = "([{<", ")]}>"
DEEPER = re.compile(r"speculative_config['\"]?\s?[:=]\s?['\"]?[\w(]{0,40}[({](.{0,2000})")
PAIR = re.compile(
    r"(?<![\w.])['\"]?(" + "|".join(NAMES) + r")['\"]?\s?[:=]\s?"
    r"(?:'([^']{0,1000})'|\"([^\"]{0,1000})\"|([\w.+-]{1,100}))(?=[,})\s]|\\n)"
)
SPECULATIVE = re.compile(r"\b(method|num_speculative_tokens|num_spec_tokens)['\"]?\s?[:=]\s?['\"]?(\w{1,40})")
SHORT_NAMES = {"max_seq_len": "max_model_len"}
DTYPE_PREFIX = "torch."
LONGEST_COUNT = 15
DECIMAL = re.compile(r"\d{1,9}(?:\.\d{0,18})?")


def engine_arguments(text: str) -> dict[str, Setting]:
    """Return the arguments that ``text`` states; what stands as None, or is of another kind, is not stated."""
    found: dict[str, Setting] = {}
    for match in PAIR.finditer(_outermost(text)):
        name, quoted, doubly, bare = match.groups()
        word = quoted if quoted is not None else doubly
        value = _value(name, word if word is not None else bare, quoted=word is not None)
        if value is not None:
            found.setdefault(SHORT_NAMES.get(name, name), value)
    return found | _speculation(text)


def _value(name: str, text: str, *, quoted: bool) -> Setting | None:
    """Return ``text`` as the kind of argument that ``name`` is; None when it cannot be one or nothing is stated."""
    if not quoted and text in {"None", "null"}:
        return None
    if name in WORDS:
        return text.removeprefix(DTYPE_PREFIX) or None
    if name in SWITCHES:
        return text.lower() == "true" if text.lower() in {"true", "false"} else None
    if name in COUNTS:
        return int(text) if text.isascii() and text.isdigit() and len(text) <= LONGEST_COUNT else None
    return float(text) if DECIMAL.fullmatch(text) else None


def _outermost(text: str) -> str:
    """Return ``text`` without what lies deeper than its first level of brackets; quotes are respected."""
    kept: list[str] = []
    depth, quote, escaped = (0, "", False)
    base = 1 if text.startswith(("{", "Namespace(")) else 0
    for char in text:
        if depth <= base:
            kept.append(char)
        if quote:
            escaped, quote = (char == "\\" and not escaped), ("" if char == quote and not escaped else quote)
        elif char in "'\"":
            quote = char
        elif char in OPENING:
            depth += 1
        elif char in CLOSING:
            depth = max(depth - 1, 0)
            if depth == base:
                kept.append(char)
            elif depth < base:
                break
    return "".join(kept)


def _speculation(text: str) -> dict[str, Setting]:
    """Return method and number of tokens of speculative decoding where a configuration of it is printed."""
    inside = DEEPER.search(text)
    if inside is None:
        return {}
    found: dict[str, str] = dict(SPECULATIVE.findall(inside[1]))
    tokens = found.get("num_speculative_tokens", found.get("num_spec_tokens", ""))
    settings: dict[str, Setting] = {}
    if "method" in found:
        settings["speculative_method"] = found["method"]
    if tokens.isascii() and tokens.isdigit() and len(tokens) <= LONGEST_COUNT:
        settings["num_speculative_tokens"] = int(tokens)
    return settings
