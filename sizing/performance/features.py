"""What settings that most engines leave alone add to a step: eager mode, LoRA adapters and drafted tokens.

Their times are in ``sizing.performance.roofline``, their constants with those of ``sizing.performance.replica``; see
decision 13.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from sizing.errors import BadInput
from sizing.inputs import EngineOverrides
from sizing.memory.terms import lora_bytes
from sizing.models.spec import BYTES_OF_DTYPE, ModelSpec, group_on_rank
from sizing.models.weight_groups import Stage
from sizing.performance.roofline import Speed, StepFeatures, StepWork
from sizing.plan import EngineSettings, Figure

DRAFTLESS = ("mtp", "ngram")
"""Methods of speculative decoding that need no model of their own."""


def check_speculation(stated: EngineOverrides | EngineSettings, where: str) -> None:
    """Raise BadInput where speculative decoding cannot be predicted: a separate draft model, or no acceptance."""
    method, drafted = stated.speculative_method, stated.num_speculative_tokens
    if method and method not in DRAFTLESS:
        problem = f"{method} drafts with a model of its own, which a plan does not place"
        way_out = "tonnage size --draft-model counts its memory"
        raise BadInput(f"{where}speculativeMethod", problem, limit=", ".join(DRAFTLESS), way_out=way_out)
    if drafted and stated.speculative_acceptance is None:
        problem = f"not stated, but {drafted} tokens are drafted"
        way_out = "state accepted over drafted tokens as vLLM's metrics count them; 0 counts no gain"
        raise BadInput(f"{where}speculativeAcceptance", problem, limit="0 to 1", way_out=way_out)


@lru_cache(maxsize=256)
def step_features(model: ModelSpec, engine: EngineSettings, head_parameters: int, head_bytes: int) -> StepFeatures:
    """Return what eager mode, LoRA adapters and a draft add to a step.

    Layers of multi-token prediction draft one pass a token, in turn, each with the output head (its parameters, and
    its bytes on one rank); tokens of n-gram lookup cost no pass. A draft that is a model of its own is not known here
    and counts no pass.
    """
    drafted, whole = engine.num_speculative_tokens, Stage(first=0, layers=model.num_layers, of=model.num_layers)
    features = StepFeatures(
        eager=engine.enforce_eager,
        draft_tokens=drafted,
        tokens_per_step=1 + drafted * (engine.speculative_acceptance or 0.0),
    )
    if engine.max_loras:
        features = _with_adapters(features, model, replace(engine, max_loras=1), whole, engine.max_loras)
    if engine.speculative_method == "mtp":
        features = _with_draft(features, model, engine.tensor_parallel, whole)
        features = replace(
            features,
            draft_bytes=features.draft_bytes + head_bytes,
            draft_parameters=features.draft_parameters + head_parameters,
        )
    return features


def _with_adapters(
    features: StepFeatures, model: ModelSpec, one: EngineSettings, whole: Stage, slots: int
) -> StepFeatures:
    """Add adapters of the largest rank on every linear layer; ``one`` has a single slot."""
    alone, element = replace(one, tensor_parallel=1), BYTES_OF_DTYPE[model.dtype]
    every = lora_bytes(model, alone, whole) / element
    dense = replace(model, weights=tuple(group for group in model.weights if not group.expert))
    met = lora_bytes(dense, alone, whole) / element
    if model.experts:
        met += (every - met) * model.experts_per_token / model.experts
    return replace(
        features,
        slots=slots,
        adapters=slots,
        adapter_bytes=float(lora_bytes(model, one, whole)),
        adapter_parameters=met,
    )


def _with_draft(features: StepFeatures, model: ModelSpec, tensor_parallel: int, whole: Stage) -> StepFeatures:
    """Add the passes of the model's own draft layers, without the output head."""
    read = experts = parameters = 0.0
    for group in model.weights:
        if not group.draft or group.derived:
            continue
        size = group_on_rank(model, group, tensor_parallel, 1, whole) / model.draft_layers
        chosen = model.experts_per_token / model.experts if group.expert else 1.0
        parameters += chosen * group.elements / model.draft_layers
        read, experts = read + size * (not group.expert), experts + size * group.expert
    return replace(
        features,
        draft_passes=features.draft_tokens,
        draft_bytes=read,
        draft_expert_bytes=experts,
        draft_parameters=parameters,
    )


def extra_figures(work: StepWork, speed: Speed) -> tuple[Figure, ...]:
    """Return what eager mode, adapters and drafts are taken to do, where they are used."""
    features, source = work.features or StepFeatures(), "throughput_constants.json"
    drafted = Figure(
        name="tokens_per_step",
        value=round(features.tokens_per_step, 3),
        unit="tokens",
        rule="1 + drafted tokens x acceptance",
        inputs={"drafted": features.draft_tokens, "passes of the draft": features.draft_passes},
        source="speculativeAcceptance as stated",
    )
    adapters = Figure(
        name="adapters_ms",
        value=round(speed.adapters_s * 1e3, 3),
        unit="ms",
        rule="kernels of LoRA in every layer, besides those for each slot and each adapter in use",
        inputs={"slots": features.slots, "adapter_mib": round(features.adapter_bytes / 2**20, 1)},
        source=source,
    )
    launch = Figure(
        name="launch_ms",
        value=round(speed.launch_s * 1e3, 3),
        unit="ms",
        rule="a step without CUDA graphs takes at least this long",
        inputs={"layers": work.layers},
        source=source,
    )
    used = ((drafted, features.draft_tokens), (adapters, features.slots), (launch, features.eager))
    return tuple(figure for figure, is_used in used if is_used)
