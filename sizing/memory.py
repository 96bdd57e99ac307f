"""Memory of one engine per GPU, term by term, as vLLM accounts it.

    requested = total x utilisation          total is what CUDA reports for the card
    KV cache  = requested - weights - peak activation - non-torch - CUDA graphs (where they are inside)

Weights come from the shapes; the peak activation is the larger of the forward pass over
``max_num_batched_tokens`` and the sampler over ``max_num_seqs`` x vocabulary; constants are calibrated
(``catalogue/constants.json``, from start-up logs) and give the spread. A draft model for speculative decoding
(``sizing.draft``) takes weights on the last stage, and its layers join the cache.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

from sizing.catalogue import Gpu, load_catalogue
from sizing.draft import beside, check_draft, draft_bytes, with_caches
from sizing.engine import VersionRules, version_rules, version_tuple
from sizing.errors import BadInput
from sizing.kv_cache import CacheLayout, cache_layout, capacity_tokens, sparse_on_card
from sizing.model import BYTES_OF_DTYPE, ModelSpec, Stage, pipeline_stages, tensor_parallel_sizes
from sizing.plan import EngineSettings, Figure, Interval, MemoryEstimate
from sizing.storage.quantisation import for_engine
from sizing.text_only import as_served, has_towers

GIB = 1 << 30
OLDEST_FP8_CACHE = 8.0
"""Compute capability from which kernels read a cache in fp8."""


@dataclass(frozen=True, kw_only=True)
class _Case:
    """One engine on one card, as the estimate sees it."""

    model: ModelSpec
    gpu: Gpu
    engine: EngineSettings
    rules: VersionRules
    total: float
    weights_gib: float | None
    """Weights of one rank where the caller states them."""
    draft: ModelSpec | None = None
    """A model that drafts tokens, as it is loaded beside ``model``, whose caches hold its layers."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        return pipeline_stages(self.model.num_layers, self.engine.pipeline_parallel)

    @property
    def layout(self) -> CacheLayout:
        return cache_layout(self.model, self.engine, self.rules)

    def with_engine(self, **changes: Any) -> _Case:
        """Return the same case with other engine settings; stated weights shrink as more GPUs share them."""
        engine = replace(self.engine, **changes)
        share = self.engine.tensor_parallel / engine.tensor_parallel
        weights = None if self.weights_gib is None else self.weights_gib * share
        return replace(self, engine=engine, weights_gib=weights)


@dataclass(frozen=True, kw_only=True)
class _Terms:
    """The terms of one rank in GiB."""

    weights: float
    forward: float
    sampler: float
    encoder: float
    workspace: float
    non_torch: float
    graphs: float

    @property
    def activation(self) -> float:
        return self.workspace + max(self.forward, self.sampler, self.encoder)


@dataclass(frozen=True, kw_only=True)
class _Budget:
    """What is left for the cache of the tightest rank, and how many blocks that is."""

    terms: _Terms
    layout: CacheLayout
    total: float
    requested: float
    kv: float
    bytes_per_block: int

    @property
    def blocks(self) -> int:
        """Whole blocks in the cache; one of them vLLM keeps for itself, and counts."""
        return math.floor(max(self.kv, 0.0) * GIB / self.bytes_per_block) if self.bytes_per_block else 0

    @property
    def blocks_per_request(self) -> int:
        return self.layout.blocks_per_request

    @property
    def starts(self) -> bool:
        """True where one request of max_model_len fits, or nothing needs to."""
        return self.kv > 0 and (not self.layout.groups or self.blocks >= self.blocks_per_request)

    def concurrency(self, engine: EngineSettings) -> float:
        """Requests of max_model_len that fit; without a cache the scheduler's limit counts."""
        return self.blocks / self.blocks_per_request if self.layout.groups else float(engine.max_num_seqs)


def estimate_memory(
    model: ModelSpec,
    gpu: Gpu,
    engine: EngineSettings,
    *,
    gpu_total_gib: float | None = None,
    weights_gib: float | None = None,
    draft: ModelSpec | None = None,
    explained: bool = True,
) -> MemoryEstimate:
    """Return the memory of one engine per GPU.

    ``gpu_total_gib`` replaces the catalogue's CUDA total, ``weights_gib`` the computed weights of one GPU; ``draft``
    is the model that drafts tokens, where ``engine`` names a method that needs one.
    ``fits`` is true when one request of ``max_model_len`` tokens fits in the cache and the card can give what
    is requested. ``explained`` False leaves out hints and figures, which cost more than the estimate: a search reads
    neither. Raises BadInput for overrides that cannot be.
    """
    _check_override("gpu-total-gib", gpu_total_gib)
    _check_override("weights-gib", weights_gib)
    case = _case(model, gpu, engine, gpu_total_gib=gpu_total_gib, weights_gib=weights_gib, draft=draft)
    budget = _budget(case)
    fits, binding = _verdict(budget, case.rules)
    terms, given = budget.terms, weights_gib is not None
    interval = _interval(case, terms, budget.kv)
    return MemoryEstimate(
        fits=fits,
        total_gib=case.total,
        requested_gib=budget.requested,
        weights_gib=terms.weights,
        peak_activation_gib=terms.activation,
        non_torch_gib=terms.non_torch,
        cuda_graph_gib=terms.graphs,
        kv_cache_gib=budget.kv,
        kv_cache_gib_interval=interval,
        fits_at_p90=fits and replace(budget, kv=interval.p10).starts,
        kv_tokens=capacity_tokens(budget.layout, engine, case.rules, budget.blocks),
        max_concurrency=max(0.0, budget.concurrency(engine)),
        kv_bytes_per_token=None if case.model.is_hybrid else case.model.kv_bytes_per_token(engine.kv_cache_dtype),
        binding=binding,
        hints=_hints(case, budget, fits=fits, binding=binding) if explained else (),
        figures=_figures(case, budget, given=given) if explained else (),
    )


def _case(
    model: ModelSpec,
    gpu: Gpu,
    engine: EngineSettings,
    *,
    gpu_total_gib: float | None,
    weights_gib: float | None,
    draft: ModelSpec | None,
) -> _Case:
    check_draft(model, draft, engine.speculative_method, engine.num_speculative_tokens, engine.tensor_parallel)
    loaded = as_loaded(model, engine.vllm_version, gpu.compute_capability)
    loaded = as_served(loaded, engine.limit_mm_per_prompt, version_tuple(engine.vllm_version))
    if draft is not None:
        draft = as_loaded(beside(draft, loaded, engine), engine.vllm_version, gpu.compute_capability)
        loaded = with_caches(loaded, draft)
    return _Case(
        model=loaded,
        draft=draft,
        gpu=gpu,
        engine=engine,
        rules=version_rules(engine.vllm_version),
        total=gpu_total_gib if gpu_total_gib is not None else gpu.total_gib,
        weights_gib=weights_gib,
    )


@lru_cache(maxsize=1024)
def as_loaded(model: ModelSpec, vllm_version: str, compute_capability: float) -> ModelSpec:
    """Return the model with its quantised weights as that version keeps them on that card.

    Raises BadInput for a quantisation that the version does not load, and for caches that it lays out otherwise.
    """
    if model.least_version and version_tuple(vllm_version) < version_tuple(model.least_version):
        raise BadInput(
            "vllm-version", f"{vllm_version} lays out the caches of {model.architecture} in a way not modelled",
            way_out=f"use {model.least_version} or later",
        )  # fmt: skip
    last = load_catalogue().engine_defaults["last_version_of"]["architectures"].get(model.architecture)
    if last is not None and version_tuple(vllm_version) > version_tuple(last):
        raise BadInput(
            "vllm-version", f"{vllm_version} has no {model.architecture} any more", way_out=f"use {last} or earlier"
        )
    capability = (int(compute_capability), round(compute_capability * 10) % 10)
    loaded = for_engine(model.quantisation, version_tuple(vllm_version), capability)
    caches = sparse_on_card(model.kv_groups, capability[0])
    same = loaded == model.quantisation and caches is model.kv_groups
    return model if same else replace(model, quantisation=loaded, kv_groups=caches)


def _check_override(name: str, value: float | None) -> None:
    if value is not None and not 0 < value <= 100_000:
        raise BadInput(name, f"{value}", limit="above 0, up to 100000 GiB")


def _constants() -> Mapping[str, Any]:
    return load_catalogue().constants


def _budget(case: _Case) -> _Budget:
    """Return the budget of the rank that holds the fewest tokens; every rank computes its own, the least counts."""
    budgets = [_stage_budget(case, stage) for stage in case.stages]
    return min(budgets, key=lambda budget: (budget.blocks, budget.kv))


def _stage_budget(case: _Case, stage: Stage) -> _Budget:
    terms = _terms(case, stage)
    requested = case.total * case.engine.gpu_memory_utilization
    inside = terms.graphs if case.rules.cuda_graphs == "inside" else 0.0
    return _Budget(
        terms=terms,
        layout=case.layout,
        total=case.total,
        requested=requested,
        kv=requested - terms.weights - terms.activation - terms.non_torch - inside,
        bytes_per_block=case.layout.bytes_per_block(stage),
    )


def _terms(case: _Case, stage: Stage) -> _Terms:
    model, engine = case.model, case.engine
    weights = case.weights_gib
    if weights is None:
        weights = loaded_bytes(model, engine, stage) / GIB + _draft_gib(case, stage)
    sampler = _sampler_bytes(model, engine, case.rules) / GIB if stage.is_last and model.generates else 0.0
    return _Terms(
        weights=weights,
        forward=_forward_gib(case),
        sampler=sampler,
        encoder=_encoder_bytes(model, engine) / GIB if stage.is_first else 0.0,
        workspace=_workspace_bytes(model, engine) / GIB,
        non_torch=_non_torch_gib(engine.tensor_parallel * engine.pipeline_parallel),
        graphs=0.0 if engine.enforce_eager else _graph_gib(engine, case.rules),
    )


def _workspace_bytes(model: ModelSpec, engine: EngineSettings) -> float:
    """Buffers of latent attention (MLA) for the context of prompts, held beside whatever else is at its peak.

    Dense: keys and values of up to 65,536 tokens of context, or eight requests of max_model_len if fewer, with
    their latents. Sparse: 40 entries of the indexer for each position of max_model_len. Source: vLLM
    ``mla_attention.py`` (determine_chunked_prefill_workspace_size), ``mla/indexer.py`` (get_max_prefill_buffer_size).
    """
    rules = load_catalogue().engine_defaults["latent_workspace"]
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
    copies = float(_constants()["activation_hidden_copies"])
    until = version_tuple(load_catalogue().engine_defaults["encoder_inputs"]["until"])
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


def _draft_gib(case: _Case, stage: Stage) -> float:
    """Return the weights of the draft model, which stands on the last stage."""
    if case.draft is None or not stage.is_last:
        return 0.0
    return draft_bytes(case.draft, case.engine.tensor_parallel) / GIB


def _forward_gib(case: _Case) -> float:
    """Return the larger of the forward passes of model and draft; EAGLE-3 keeps what it reads beside the model's."""
    forward = _forward_bytes(case.model, case.engine)
    if case.draft is None:
        return forward / GIB
    read = sum(group.columns for group in case.draft.weights if group.name == "fc")
    beside_it = case.engine.max_num_batched_tokens * read * 2 if case.engine.speculative_method == "eagle3" else 0
    return max(forward + beside_it, _forward_bytes(case.draft, case.engine)) / GIB


def _forward_bytes(model: ModelSpec, engine: EngineSettings) -> float:
    """Bytes alive at the widest point of a layer: gate, up and their product, and copies of the hidden state.

    Experts keep one hidden state for each expert that a token is sent to.
    """
    width = model.intermediate_size * max(1, model.experts_per_token)
    copies = float(_constants()["activation_hidden_copies"]) + model.experts_per_token
    per_token = 3 * width / engine.tensor_parallel + copies * model.hidden_size
    per_token += model.activation_elements
    return engine.max_num_batched_tokens * per_token * 2


def _sampler_bytes(model: ModelSpec, engine: EngineSettings, rules: VersionRules) -> float:
    per_cell = float(_constants()["sampler_bytes_per_sequence_and_vocabulary"][rules.sampler])
    return per_cell * engine.max_num_seqs * model.vocab_size


def _non_torch_gib(ranks: int) -> float:
    """Interpolate the measured figures over log2 of the ranks; flat beyond the largest measured."""
    table = sorted((int(k), float(v)) for k, v in _constants()["non_torch_gib_by_tensor_parallel"].items())
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
    """Inside the budget this is what vLLM would reserve (its estimate), outside it is what the graphs take."""
    graph = _constants()["cuda_graph_gib"][rules.cuda_graphs]
    return float(graph["base"]) + float(graph["per_captured_size"]) * captured_sizes(engine.max_num_seqs)


def _interval(case: _Case, terms: _Terms, kv: float) -> Interval:
    """Spread of the cache from the residuals of each term, taken as independent and scaled to the fitted side.

    Older versions sort in PyTorch unless FlashInfer is installed, which the settings do not tell: the upper
    side then reaches the cache that the leaner sampler leaves.
    """
    constants = _constants()
    spread, sampler = constants["spread"], constants["sampler_bytes_per_sequence_and_vocabulary"]
    inside = case.rules.cuda_graphs == "inside"
    parts = [
        0.0 if case.weights_gib is not None else float(spread["weights_relative"]) * terms.weights,
        float(spread["activation_relative"]) * terms.activation,
        float(spread["non_torch_gib"]) + float(spread["non_torch_relative"]) * terms.non_torch,
        float(spread["cuda_graph_relative"]) * terms.graphs if inside else 0.0,
    ]
    half = float(spread["scale"]) * math.sqrt(sum(part * part for part in parts))
    leaner = terms.activation
    if case.rules.sampler == "pytorch":
        fewer = terms.sampler * float(sampler["flashinfer"]) / float(sampler["pytorch"])
        leaner = terms.workspace + max(terms.forward, fewer, terms.encoder)
    return Interval(p10=kv - half, p50=kv, p90=kv + half + terms.activation - leaner)


def _verdict(budget: _Budget, rules: VersionRules) -> tuple[bool, str]:
    """Return whether it starts, and the limit that binds (or would bind first)."""
    terms = budget.terms
    context = float(_constants()["context_gib"])
    if terms.weights > budget.requested:
        return False, "weights"
    if budget.requested > budget.total - context:
        return False, "gpu_memory_utilization"
    if rules.cuda_graphs == "outside" and budget.requested + terms.graphs + context > budget.total:
        return False, "cuda_graphs"
    if budget.kv <= 0:
        return False, "peak_activation"
    if not budget.starts:
        return False, "kv_cache"
    return True, _largest(terms)


def _largest(terms: _Terms) -> str:
    sizes = {"weights": terms.weights, "peak_activation": terms.activation, "non_torch": terms.non_torch}
    return max(sorted(sizes), key=lambda key: sizes[key])


def longest_context(
    model: ModelSpec,
    gpu: Gpu,
    engine: EngineSettings,
    *,
    gpu_total_gib: float | None = None,
    weights_gib: float | None = None,
    draft: ModelSpec | None = None,
) -> int:
    """Return the largest ``max_model_len`` in tokens (whole blocks) that one request may have; 0 when none."""
    case = _case(model, gpu, engine, gpu_total_gib=gpu_total_gib, weights_gib=weights_gib, draft=draft)
    return _longest(case, _budget(case))


def _longest(case: _Case, budget: _Budget) -> int:
    """Return the longest request that the blocks hold, in whole blocks, found by halving."""
    step, most = case.engine.block_size, case.model.max_position_embeddings
    if not budget.layout.groups:
        return most
    low, high = 0, -(-most // step)
    while low < high:
        middle = (low + high + 1) // 2
        needed = case.with_engine(max_model_len=middle * step).layout.blocks_per_request
        low, high = (middle, high) if needed <= budget.blocks else (low, middle - 1)
    return min(low * step, most)


def _hints(case: _Case, budget: _Budget, *, fits: bool, binding: str) -> tuple[str, ...]:
    """Say what each setting would change, with figures; what helps most first."""
    hints: list[str] = []
    if binding == "kv_cache" and (longest := _longest(case, budget)):
        hints.append(f"max-model-len {case.engine.max_model_len} -> {longest} is the largest that fits")
    if binding in {"gpu_memory_utilization", "cuda_graphs"}:
        hints.append(_utilisation_hint(budget, case.rules))
    hints += _text_alone(case, budget)
    hints += _smaller_batch(case, budget)
    hints += _fp8_cache(case, budget)
    if not fits:
        hints += _more_gpus(case)
    return tuple(hints)


def _text_alone(case: _Case, budget: _Budget) -> list[str]:
    """Say what a model frees without its encoder, where that is what the peak activation is for."""
    terms, version = budget.terms, version_tuple(case.engine.vllm_version)
    if not has_towers(case.model) or terms.encoder <= max(terms.forward, terms.sampler):
        return []
    text = as_served(case.model, 0, version)
    freed = _budget(replace(case, model=text, engine=replace(case.engine, limit_mm_per_prompt=0))).kv - budget.kv
    return [f"limit-mm-per-prompt 0 (text alone) frees {freed:.1f} GiB for the KV cache"] if freed >= 0.05 else []


def _fp8_cache(case: _Case, budget: _Budget) -> list[str]:
    """Say what an fp8 cache would hold; hybrids with large states gain little, and the figure shows it."""
    already = case.model.kv_element_bytes(case.engine.kv_cache_dtype) == 1
    if not budget.blocks or already or case.gpu.compute_capability < OLDEST_FP8_CACHE:
        return []
    smaller = case.with_engine(kv_cache_dtype="fp8")
    widest = max(smaller.layout.bytes_per_block(stage) for stage in case.stages)
    blocks = math.floor(max(budget.kv, 0.0) * GIB / widest)
    now, then = budget.blocks / budget.blocks_per_request, blocks / smaller.layout.blocks_per_request
    if then <= now:
        return []
    tokens = capacity_tokens(smaller.layout, smaller.engine, case.rules, blocks)
    return [f"kv-cache-dtype fp8 holds {then / now:.1f}x the requests: about {tokens} tokens"]


def _utilisation_hint(budget: _Budget, rules: VersionRules) -> str:
    outside = float(_constants()["context_gib"]) + (budget.terms.graphs if rules.cuda_graphs == "outside" else 0.0)
    most = math.floor((budget.total - outside) / budget.total * 100) / 100
    return f"gpu-memory-utilization {most:.2f} leaves the {outside:.1f} GiB that live outside the budget"


def _smaller_batch(case: _Case, budget: _Budget) -> list[str]:
    hints = []
    seqs, tokens = case.engine.max_num_seqs, case.engine.max_num_batched_tokens
    fewer: dict[str, dict[str, int]] = {
        f"max-num-seqs {seqs} -> {seqs // 4}": {"max_num_seqs": max(seqs // 4, 1)},
        f"max-num-batched-tokens {tokens} -> {tokens // 4}": {"max_num_batched_tokens": max(tokens // 4, 1)},
    }
    for change, values in fewer.items():
        smaller = case.with_engine(**values)
        batch = smaller.engine
        if batch.max_num_seqs < 16 or batch.max_num_batched_tokens < max(batch.max_num_seqs, 256):
            continue
        freed = _budget(smaller).kv - budget.kv
        if freed >= 0.05:
            hints.append(f"{change} frees {freed:.1f} GiB for the KV cache")
    return hints


def _more_gpus(case: _Case) -> list[str]:
    for size in (2, 4, 8, 16):
        if size <= case.engine.tensor_parallel or size not in tensor_parallel_sizes(case.model):
            continue
        if case.draft is not None and case.draft.kv_groups and size not in tensor_parallel_sizes(case.draft):
            continue
        wider = case.with_engine(tensor_parallel=size)
        budget = _budget(wider)
        if _verdict(budget, case.rules)[0]:
            return [f"tensor-parallel {size} fits, with {budget.kv:.1f} GiB of KV cache per GPU"]
    return []


def _figures(case: _Case, budget: _Budget, *, given: bool) -> tuple[Figure, ...]:
    model, engine, rules = case.model, case.engine, case.rules
    terms, constants = budget.terms, load_catalogue().sources["constants"]
    version = f"vLLM {engine.vllm_version}"
    tp, pp = engine.tensor_parallel, engine.pipeline_parallel
    weights_rule = (
        "as stated" if given else "sum over matrices of rows x columns x bytes on one rank, plus rotary cache"
    )
    return (
        _figure("requested_gib", budget.requested, "total x gpu_memory_utilization",
                {"total_gib": budget.total, "gpu_memory_utilization": engine.gpu_memory_utilization}, version),
        _figure("weights_gib", terms.weights, weights_rule,
                {"parameters": model.parameters, "quantisation": model.quantisation.method, "tensor_parallel": tp,
                 "pipeline_parallel": pp}, "config.json of " + model.name),
        _figure("peak_activation_gib", terms.activation,
                "larger of forward pass (max_num_batched_tokens) and sampler (max_num_seqs x vocabulary)",
                {"forward_gib": terms.forward, "sampler_gib": terms.sampler, "max_num_seqs": engine.max_num_seqs,
                 "max_num_batched_tokens": engine.max_num_batched_tokens, "vocab_size": model.vocab_size}, constants),
        _figure("non_torch_gib", terms.non_torch, "measured by number of ranks", {"ranks": tp * pp}, constants),
        _figure("cuda_graph_gib", terms.graphs, f"base + per captured batch size; {rules.cuda_graphs} the budget",
                {"captured_sizes": captured_sizes(engine.max_num_seqs), "enforce_eager": str(engine.enforce_eager)},
                constants),
        _figure("kv_cache_gib", budget.kv, "requested - weights - activation - non-torch - graphs inside the budget",
                {"bytes_per_block": budget.bytes_per_block, "blocks": budget.blocks,
                 "groups": len(budget.layout.groups)}, version),
        _figure("max_concurrency", budget.concurrency(engine), "blocks / blocks of one request of max_model_len",
                {"blocks": budget.blocks, "blocks_per_request": budget.blocks_per_request}, version),
        *_draft_figure(case),
    )  # fmt: skip


def _draft_figure(case: _Case) -> tuple[Figure, ...]:
    if case.draft is None:
        return ()
    value = _draft_gib(case, case.stages[-1])
    inputs: dict[str, float | str] = {"method": case.engine.speculative_method, "parameters": case.draft.parameters}
    rule = "weights on one rank of the last stage, without what the model shares; within weights_gib"
    return (_figure("draft_gib", value, rule, inputs, "config.json of " + case.draft.name),)


def _figure(name: str, value: float, rule: str, inputs: Mapping[str, float | str], source: str) -> Figure:
    unit = "GiB" if name.endswith("_gib") else "requests"
    return Figure(name=name, value=value, unit=unit, rule=rule, inputs=inputs, source=source)
