"""Heads that draft tokens from the hidden states of another model: EAGLE and EAGLE-3.

A head is a few layers of a decoder behind a projection (``fc``, whole on every rank) of what it reads: EAGLE the
embedding and the last hidden state, EAGLE-3 the hidden states of several layers; the first layer of EAGLE-3 attends
over embedding and hidden state side by side. Source: vLLM 0.32.0 ``llama_eagle.py``, ``llama_eagle3.py``,
``qwen3_eagle3.py``, ``deepseek_eagle.py``, ``deepseek_eagle3.py``. What a head shares with its model is decided in
``sizing.engine.draft_model``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sizing.errors import BadInput
from sizing.models.blocks.fields import count, flag, whole
from sizing.models.blocks.parts import Identity, architecture_of, replicated, vector
from sizing.models.families import dense, mla
from sizing.models.spec import ModelSpec
from sizing.models.weight_groups import WeightGroup

EAGLE = ("EagleDeepSeekMTPModel", "EagleLlamaForCausalLM")
EAGLE3_LATENT = ("Eagle3DeepseekV2ForCausalLM", "Eagle3DeepseekV3ForCausalLM")
EAGLE3 = (
    "Eagle3LlamaForCausalLM",
    "Eagle3MiniMaxM2ForCausalLM",
    "Eagle3Qwen2_5vlForCausalLM",
    "Eagle3Qwen3ForCausalLM",
    "Eagle3Qwen3vlForCausalLM",
    "LlamaForCausalLMEagle3",
)
ARCHITECTURES = (*EAGLE, *EAGLE3, *EAGLE3_LATENT)
READS = ("q_proj", "k_proj", "v_proj", "q_a_proj", "kv_a_proj")
"""Projections of the hidden state at the start of attention."""
HIDDEN_STATES = 3
"""Layers whose hidden states EAGLE-3 reads where the file does not say."""


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the description of a head, with an embedding and an output head of its own."""
    architecture = architecture_of(config)
    stated = {"torch_dtype": "bfloat16", **config}  # vLLM loads a head in the type of its model
    if architecture in EAGLE3 or architecture in EAGLE3_LATENT:
        return _eagle3(stated, identity)
    if architecture == "EagleLlamaForCausalLM":
        return eagle_head(dense.build(stated, identity))
    return _eagle_latent(mla.build(stated, identity))


def eagle_head(decoder: ModelSpec) -> ModelSpec:
    """Return the EAGLE head that a decoder's file describes: no final norm, no output head, no first input norm."""
    hidden, layers = decoder.hidden_size, range(decoder.num_layers)
    kept = [group for group in decoder.weights if group.name not in {"layer_norms", "norm", "lm_head"}]
    norms = (vector("post_attention_norm", hidden, layers[:1]), vector("layer_norms", 2 * hidden, layers[1:]))
    weights = (*kept, *(group for group in norms if len(group.layers)), projection(hidden, 2 * hidden))
    return replace(decoder, family="eagle", weights=weights, tie_word_embeddings=False)


def projection(hidden: int, read: int) -> WeightGroup:
    """Return the projection of the ``read`` elements that a head takes from its model."""
    return replicated("fc", hidden, read, (0,), path="fc")


def _eagle_latent(decoder: ModelSpec) -> ModelSpec:
    hidden = decoder.hidden_size
    kept = [group for group in decoder.weights if group.name != "lm_head" and not group.draft]
    joint = replace(projection(hidden, 2 * hidden), linear=False)
    weights = (*kept, vector("read_norms", 2 * hidden, (0,)), joint)
    return replace(decoder, family="eagle", weights=weights, draft_layers=0)


def _eagle3(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return an EAGLE-3 head; its MLP is dense whatever its model has."""
    decoder, width = _decoder(config, identity), whole(config, "intermediate_size")
    layers, hidden = range(decoder.num_layers), decoder.hidden_size
    vocabulary = whole(config, "draft_vocab_size", decoder.vocab_size)
    weights = [part for group in decoder.weights for part in _widened(group, hidden, layers)]
    weights = [replace(group, rows=vocabulary) if group.name == "lm_head" else group for group in weights]
    weights.append(vector("hidden_norm", hidden, layers))
    if vocabulary != decoder.vocab_size:
        weights.append(vector("draft_id_to_target_id", vocabulary, (0,), element_bytes=8))
    return replace(
        decoder, family="eagle3", weights=(*weights, *_reading(config, hidden)), intermediate_size=width,
        tie_word_embeddings=False, draft_layers=0, experts=0, experts_per_token=0,
    )  # fmt: skip


def _decoder(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the layers of an EAGLE-3 head as those of the decoder that they come from."""
    untied = {**config, "tie_word_embeddings": False}
    if architecture_of(config) not in EAGLE3_LATENT:
        plain = "Qwen3ForCausalLM" if architecture_of(config) == "Eagle3Qwen3ForCausalLM" else "LlamaForCausalLM"
        built = dense.build({**untied, "architectures": [plain]}, identity)
        return replace(built, architecture=architecture_of(config))
    layers = whole(config, "num_hidden_layers")
    expertless = {"n_routed_experts": 0, "n_shared_experts": 0, "num_nextn_predict_layers": 0}
    return mla.build({**untied, **expertless, "first_k_dense_replace": layers}, identity)


def _widened(group: WeightGroup, hidden: int, layers: Sequence[int]) -> tuple[WeightGroup, ...]:
    """Return a projection whose first layer reads embedding and hidden state; any other group as it is."""
    if group.name not in READS or group.columns != hidden or not len(group.layers):
        return (group,)
    first = replace(group, columns=2 * hidden, layers=tuple(layers[:1]))
    rest = tuple(layers[1:])
    return (first, replace(group, layers=rest)) if rest else (first,)


def _reading(config: Mapping[str, object], hidden: int) -> tuple[WeightGroup, ...]:
    """Return the projection of the hidden states that the head reads, with the norms before it."""
    stated = config.get("eagle_config")
    if stated is not None and not isinstance(stated, Mapping):
        raise BadInput("config.json: eagle_config", f"expected an object, got {type(stated).__name__}")
    inner: Mapping[str, object] = stated or {}
    if not flag(inner, "use_aux_hidden_state", True):
        return ()
    chosen = inner.get("eagle_aux_hidden_state_layer_ids") or config.get("eagle_aux_hidden_state_layer_ids")
    default = len(chosen) if isinstance(chosen, list) and len(chosen) <= 64 else HIDDEN_STATES
    states = count(config, "num_aux_layers") or count(config, "num_aux_hidden_states") or default
    read = states * whole(config, "target_hidden_size", hidden)
    norms = flag(inner, "norm_before_fc", flag(config, "norm_before_fc", False)) + flag(config, "fc_norm", False)
    return (projection(hidden, read), *([vector("read_norm", norms * read, (0,))] if norms else []))
