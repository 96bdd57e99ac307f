"""Architectures that are refused for a reason worth telling: what vLLM no longer serves, or serves in its own way."""

from __future__ import annotations

from collections.abc import Mapping

LAST_SERVED: Mapping[str, str] = {
    "ArcticForCausalLM": "0.28.0",
    "DonutForConditionalGeneration": "0.10.2",
    "Dots1ForCausalLM": "0.23.0",
    "Grok1ForCausalLM": "0.24.0",
    "Grok1ModelForCausalLM": "0.24.0",
    "MiniMaxForCausalLM": "0.23.0",
    "MiniMaxM1ForCausalLM": "0.23.0",
    "MiniMaxText01ForCausalLM": "0.23.0",
    "MllamaForConditionalGeneration": "0.10.2",
    "Phi3SmallForCausalLM": "0.9.2",
    "Phi4FlashForCausalLM": "0.10.2",
    "Phi4MultimodalForCausalLM": "0.12.0",
    "Plamo2ForCausalLM": "0.26.0",
    "QWenLMHeadModel": "0.23.0",
}
"""Last vLLM that served an architecture (``_PREVIOUSLY_SUPPORTED_MODELS`` of 0.32.0)."""
OWN_CODE: Mapping[str, str] = {
    "FlexOlmoForCausalLM": "the Transformers backend",
    "HunYuanMoEV1ForCausalLM": "the Transformers backend",
    "MellumForCausalLM": "the Transformers backend",
}
"""Architectures that vLLM 0.32.0 runs with the model's own code, whose tensors are split in other ways."""


def reason(architecture: str) -> str:
    """Return why ``architecture`` is not modelled, empty where there is nothing to say but its name."""
    if architecture in LAST_SERVED:
        return f"{architecture!r} is not modelled: vLLM {LAST_SERVED[architecture]} was the last to serve it"
    if architecture in OWN_CODE:
        return f"{architecture!r} is not modelled: vLLM runs it through {OWN_CODE[architecture]}"
    return ""
