"""Terms of the memory of one rank: weights, profile run, non-torch memory, CUDA graphs, LoRA slots, draft.

    weights    = matrices as loaded + LoRA slots + rotary caches, and the draft model on the last stage
    forward    = T x (3 x I x max(1, k) / tp + (copies + k) x H) x 2 bytes   widest point of a layer in the profile run
    sampler    = max_num_seqs x vocabulary x bytes per cell                  last stage
    encoder    = images x (positions x (width / tp + copies x hidden) + tokens x out) x 2 bytes         first stage
    workspace  = buffers of latent attention (MLA)                           held beyond the profile run
    activation = workspace + max(forward, sampler, encoder)
    non_torch  = measured figures, interpolated over log2(ranks)
    graphs     = base + captured batch sizes x GiB per size                  0 in eager mode

``T``: max_num_batched_tokens. ``I``: intermediate size. ``H``: hidden size. ``k``: experts of a token, 0 in a dense
model. ``tp``: tensor parallel size. Bytes per cell, copies, non_torch, base and GiB per size are calibrated
(``catalogue/constants.json``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from sizing.catalogue.files import engine_rules
from sizing.engine.draft_model import draft_bytes
from sizing.engine.versions import VersionRules, version_tuple
from sizing.memory.case import Case, memory_constants
from sizing.models.spec import BYTES_OF_DTYPE, ModelSpec
from sizing.models.weight_groups import Stage
from sizing.plan import EngineSettings
from sizing.units import GIB


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Terms of one rank in GiB."""

    weights: float
    forward: float
    sampler: float
    encoder: float
    workspace: float
    non_torch: float
    graphs: float

    @property
    def activation(self) -> float:
        """Peak activation in GiB: the three runs follow each other, so the largest counts."""
        return self.workspace + max(self.forward, self.sampler, self.encoder)


def terms_of(case: Case, stage: Stage) -> Terms:
    """Return the terms of one rank of ``stage``; stated weights replace the computed ones."""
    model, engine = case.model, case.engine
    weights = case.weights_gib
    if weights is None:
        weights = loaded_bytes(model, engine, stage) / GIB + draft_gib(case, stage)
    sampler = _sampler_bytes(model, engine, case.rules) / GIB if stage.is_last and model.generates else 0.0
    return Terms(
        weights=weights,
        forward=_forward_gib(case),
        sampler=sampler,
        encoder=_encoder_bytes(model, engine) / GIB if stage.is_first else 0.0,
        workspace=_workspace_bytes(model, engine) / GIB,
        non_torch=_non_torch_gib(engine.tensor_parallel * engine.pipeline_parallel),
        graphs=0.0 if engine.enforce_eager else _graph_gib(engine, case.rules),
    )


def _workspace_bytes(model: ModelSpec, engine: EngineSettings) -> float:
    """Buffers of latent attention (MLA) for the context of prompts, held during the whole profile run.

    Dense: keys and values of up to 65,536 tokens of context, or eight requests of max_model_len if fewer, with
    their latents. Sparse: 40 entries of the indexer for each position of max_model_len. Source: vLLM
    ``mla_attention.py`` (determine_chunked_prefill_workspace_size), ``mla/indexer.py`` (get_max_prefill_buffer_size).
    """
    rules = engine_rules("latent_workspace")
    latent = [group for group in model.kv_groups if group.kind == "latent"]
    indexer = next((group for group in latent if group.element_bytes == 1), None)
    if indexer is not None:
        return float(rules["sparse_entries_per_position"]) * engine.max_model_len * indexer.token_bytes(1)
    if not model.context_elements:
        return 0.0
    tokens = min(int(rules["requests"]) * engine.max_model_len, int(rules["most_tokens"]))
    elements = model.context_elements / engine.tensor_parallel + latent[0].head_dim
    return tokens * elements * BYTES_OF_DTYPE[model.dtype]


def _encoder_bytes(model: ModelSpec, engine: EngineSettings) -> float:
    """Peak of the profile run of an image or audio encoder, with the embeddings that it returns.

    Items of the largest size fill the encoder budget (``MultiModalBudget``); a position keeps the inner matrices
    of its MLP and copies of its hidden state, as a token of the language model does; older versions its inputs too.
    """
    run = model.encoder_run
    if run is None:
        return 0.0
    frames = min(run.most, max(1, engine.max_model_len // run.tokens))
    items = max(1, engine.max_num_batched_tokens // (run.tokens * frames))
    if engine.limit_mm_per_prompt:
        items = min(items, engine.max_num_seqs * engine.limit_mm_per_prompt)
    images = frames * items
    copies = float(memory_constants()["activation_hidden_copies"])
    until = version_tuple(engine_rules("encoder_inputs")["until"])
    extra = run.extra if version_tuple(engine.vllm_version) < until else 0
    position = run.width / engine.tensor_parallel + copies * run.hidden + extra
    return images * (run.positions * position + run.tokens * run.out) * 2


def loaded_bytes(model: ModelSpec, engine: EngineSettings, stage: Stage) -> int:
    """Return what one rank allocates while loading: weights, draft layers, LoRA slots and rotary caches."""
    ranks = engine.tensor_parallel * engine.data_parallel if engine.enable_expert_parallel else 1
    weights = model.weight_bytes(
        tensor_parallel=engine.tensor_parallel,
        stage=stage,
        expert_parallel=ranks,
        draft=engine.speculative_method == "mtp",
        derived=True,
    )
    return weights + model.rotary_bytes + lora_bytes(model, engine, stage)


def lora_bytes(model: ModelSpec, engine: EngineSettings, stage: Stage) -> int:
    """Return the bytes of the LoRA slots: A (rank x inputs) and B (outputs x rank) of every linear layer.

    vLLM allocates ``max_loras`` slots of ``max_lora_rank``. A is whole on every rank for layers split by output, B
    for layers split by input; embedding and head have slots over the whole vocabulary. Source: the layers that vLLM
    0.32 builds for Qwen3-4B; a start of 0.27 with 16 and 64 slots took 9 % more.
    """
    if not engine.max_loras:
        return 0
    n, total = engine.tensor_parallel, 0
    for group in model.weights:
        if group.split == "vocabulary":
            total += group.rows + group.columns
        elif group.linear and group.columns > 1 and group.place == "layers" and not (group.draft or group.derived):
            rows = -(-group.rows // n) if group.split in {"out", "kv"} else group.rows
            columns = -(-group.columns // n) if group.split == "in" else group.columns
            total += (rows + columns) * group.copies * len(stage.held(group.layers))
    return total * engine.max_lora_rank * engine.max_loras * BYTES_OF_DTYPE[model.dtype]


def draft_gib(case: Case, stage: Stage) -> float:
    """Return the weights of the draft model, which is on the last stage."""
    if case.draft is None or not stage.is_last:
        return 0.0
    return draft_bytes(case.draft, case.engine.tensor_parallel) / GIB


def _forward_gib(case: Case) -> float:
    """Return the larger of the forward passes of model and draft; EAGLE-3's inputs are kept during the model's."""
    forward = _forward_bytes(case.model, case.engine)
    if case.draft is None:
        return forward / GIB
    read = sum(group.columns for group in case.draft.weights if group.name == "fc")
    inputs = case.engine.max_num_batched_tokens * read * 2 if case.engine.speculative_method == "eagle3" else 0
    return max(forward + inputs, _forward_bytes(case.draft, case.engine)) / GIB


def _forward_bytes(model: ModelSpec, engine: EngineSettings) -> float:
    """Bytes alive at the widest point of a layer: gate, up and their product, and copies of the hidden state.

    A mixture of experts holds one more hidden state for each expert of a token.
    """
    width = model.intermediate_size * max(1, model.experts_per_token)
    copies = float(memory_constants()["activation_hidden_copies"]) + model.experts_per_token
    per_token = 3 * width / engine.tensor_parallel + copies * model.hidden_size
    per_token += model.activation_elements
    return engine.max_num_batched_tokens * per_token * 2


def _sampler_bytes(model: ModelSpec, engine: EngineSettings, rules: VersionRules) -> float:
    per_cell = float(memory_constants()["sampler_bytes_per_sequence_and_vocabulary"][rules.sampler])
    return per_cell * engine.max_num_seqs * model.vocab_size


def _non_torch_gib(ranks: int) -> float:
    """Interpolate the measured figures over log2 of the ranks; flat beyond the largest measured."""
    table = sorted((int(k), float(v)) for k, v in memory_constants()["non_torch_gib_by_tensor_parallel"].items())
    for (low, low_gib), (high, high_gib) in pairwise(table):
        if low <= ranks <= high:
            share = math.log2(ranks / low) / math.log2(high / low)
            return low_gib + share * (high_gib - low_gib)
    return table[-1][1]


def captured_sizes(max_num_seqs: int) -> int:
    """Return how many batch sizes vLLM captures as CUDA graphs: 1, 2, 4, by 8 to 256, by 16 to 512."""
    most = min(2 * max_num_seqs, 512)
    small = sum(1 for size in (1, 2, 4) if size <= most)
    return small + max(0, min(most, 248) // 8) + max(0, (most - 256) // 16 + 1 if most >= 256 else 0)


def _graph_gib(engine: EngineSettings, rules: VersionRules) -> float:
    """GiB of CUDA graphs: vLLM's own estimate where it reserves them in the budget, else what they take."""
    graph = memory_constants()["cuda_graph_gib"][rules.cuda_graphs]
    return float(graph["base"]) + float(graph["per_captured_size"]) * captured_sizes(engine.max_num_seqs)
