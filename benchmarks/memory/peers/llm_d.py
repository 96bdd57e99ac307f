"""The constants of the llm-d planner: activation by architecture, non-torch by tensor parallelism, the rest is cache.

Own lines from ``src/planner/capacity_planner.py`` at the commit in VERSION (``allocatable_kv_cache_memory``,
``estimate_vllm_activation_memory``, ``KVCacheDetail``). The planner itself asks a hub for the parameters by dtype.
"""

from __future__ import annotations

from benchmarks.memory.peers.case import GIB, Case, Prediction, given_cache, head_bytes_per_token
from benchmarks.peers import Refused

NAME = "llm-d planner constants"
VERSION = "e50305af90f0812e77e1827f3bc740fe75b76370"
LICENCE = "Apache-2.0"
SOURCE = "https://github.com/llm-d-incubation/llm-d-planner"
FILE = "src/planner/capacity_planner.py"
PACKAGES: tuple[str, ...] = ()
FED = "checkpoint bytes, config.json, CUDA total, the row's utilisation"

ACTIVATION_BY_ARCHITECTURE = {
    "LlamaForCausalLM": 4.8,
    "Qwen2ForCausalLM": 5.6,
    "Qwen3ForCausalLM": 5.6,
    "PixtralForConditionalGeneration": 2.5,
    "Mistral3ForConditionalGeneration": 2.5,
}
MULTIMODAL = {
    "PixtralForConditionalGeneration",
    "Mistral3ForConditionalGeneration",
    "LlavaForConditionalGeneration",
    "LlavaNextForConditionalGeneration",
}
MOE_FIELDS = ("n_routed_experts", "n_shared_experts", "num_experts", "num_experts_per_tok")
DENSE_GIB, MOE_GIB, MULTIMODAL_GIB = 5.5, 8.0, 2.5
NON_TORCH_ONE_GIB, NON_TORCH_MORE_GIB = 0.15, 0.6
QUOTES = (
    '"LlamaForCausalLM": 4.8',
    '"Qwen2ForCausalLM": 5.6',
    '"Qwen3ForCausalLM": 5.6',
    '"PixtralForConditionalGeneration": 2.5',
    '"Mistral3ForConditionalGeneration": 2.5',
    "ACTIVATION_MEMORY_BASE_MOE_GIB = 8.0",
    "ACTIVATION_MEMORY_BASE_MULTIMODAL_GIB = 2.5",
    "VLLM_NON_TORCH_MEMORY_TP1_GIB = 0.15",
    "VLLM_NON_TORCH_MEMORY_TPN_GIB = 0.6",
)


def predict(case: Case) -> Prediction:
    """Apply the constants; the activation counts once for all cards of an engine, as the planner does."""
    if case.checkpoint_bytes is None:
        raise Refused("bytes of the checkpoint not known")
    weights = case.checkpoint_bytes / case.gpus / GIB
    activation = _activation_gib(case)
    non_torch = NON_TORCH_ONE_GIB if case.tensor_parallel == 1 else NON_TORCH_MORE_GIB
    cache = case.total_gib * case.gpu_memory_utilization - weights - activation / case.gpus - non_torch
    tokens, concurrency = given_cache(case, _bytes_per_token(case) / case.gpus)
    needed = _bytes_per_token(case) / case.gpus * case.max_model_len / GIB
    return Prediction(
        weights_gib=weights,
        activation_gib=activation,
        kv_gib=max(0.0, cache),
        kv_tokens=tokens,
        max_concurrency=concurrency,
        fits=cache >= needed,
    )


def _activation_gib(case: Case) -> float:
    architecture = (case.config.get("architectures") or [""])[0]
    if architecture in ACTIVATION_BY_ARCHITECTURE:
        return ACTIVATION_BY_ARCHITECTURE[architecture]
    if any(case.text.get(field) is not None for field in MOE_FIELDS):
        return MOE_GIB
    return MULTIMODAL_GIB if architecture in MULTIMODAL else DENSE_GIB


def _bytes_per_token(case: Case) -> float:
    architecture = (case.config.get("architectures") or [""])[0]
    element = 4 if case.config.get("torch_dtype") == "float32" else 2
    if "DeepseekV3ForCausalLM" in architecture or "DeepseekV2ForCausalLM" in architecture:
        latent = case.text["kv_lora_rank"] + case.text["qk_rope_head_dim"]
        return float(case.text["num_hidden_layers"] * latent * element)
    return head_bytes_per_token(case, element)
