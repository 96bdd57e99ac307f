"""What is expected of a running engine: by the stack that deployed it, or for the settings that it printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from sizing.catalogue import Catalogue, Gpu
from sizing.engine.versions import version_rules
from sizing.errors import BadInput
from sizing.inputs import EngineOverrides, ModelEntry
from sizing.memory.size import Sizing, size_model
from sizing.models.spec import ModelSpec
from sizing.observe.logs.settings import Setting
from sizing.observe.measured import Measured, find_model_name
from sizing.plan import EngineSettings, Interval, MemoryEstimate, ServingPlan, StackPlan

OTHER_CARD = 0.05
"""A card whose total differs by more from the named type is another one, or a part of it."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What was expected of the engine, by a stack or for the settings that it printed.

    ``sources`` says where each setting comes from, ``total_source`` the memory of the card. ``tokens_needed`` is what
    the plan counts on in the cache, requests in flight times their tokens, and ``replicas`` its expected number: None
    without a stack. ``other_model`` is what the engine serves where the stack plans another one.
    """

    model: str
    gpu: str
    gpu_source: str
    total_source: str
    engine: EngineSettings
    sources: Mapping[str, str]
    memory: MemoryEstimate
    stack: str | None = None
    other_model: str | None = None
    tokens_needed: int | None = None
    replicas: int | None = None
    notes: tuple[str, ...] = ()


def overrides_of(measured: Measured, stated: Mapping[str, Setting | None]) -> tuple[EngineOverrides, dict[str, str]]:
    """Return the engine settings to predict for, and the source of each: what the user states, then what was printed.

    BadInput when a printed value cannot be, naming it.
    """
    given = {key: value for key, value in stated.items() if value is not None}
    printed = dict(measured.settings)
    if measured.vllm_version is not None:
        printed["vllm_version"] = measured.vllm_version
    values = printed | given
    sources = {key: "stated" if key in given else measured.source for key in values}
    try:
        return EngineOverrides.model_validate(values), sources
    except ValueError as error:
        first = getattr(error, "errors", list)()[0]
        key = str(first["loc"][-1]) if first["loc"] else "settings"
        problem = f"{key} {str(first['input'])[:60]}: {first['msg'].lower()}"
        raise BadInput(measured.source, problem) from None


def predict(
    measured: Measured,
    model: ModelSpec,
    gpu: Gpu,
    *,
    gpu_source: str,
    stated: Mapping[str, Setting | None],
    gpu_total_gib: float | None = None,
    weights_gib: float | None = None,
) -> Prediction:
    """Return the estimate for the settings that the engine printed, on the memory that its card reported."""
    overrides, sources = overrides_of(measured, stated)
    total, total_source = measured.total_gib, measured.source
    if gpu_total_gib is not None:
        total, total_source = gpu_total_gib, "stated"
    elif total is None:
        total_source = "catalogue"
    sizing = size_model(model, gpu, overrides, gpu_total_gib=total, weights_gib=weights_gib)
    return Prediction(
        model=model.name,
        gpu=gpu.name,
        gpu_source=gpu_source,
        total_source=total_source,
        engine=sizing.engine,
        sources=dict(sizing.sources) | sources,
        memory=_rebased(sizing, measured.graphs_in_budget),
        notes=(*sizing.notes, *_contradictions(measured, gpu, sizing)),
    )


def prediction_of_plan(plan: ServingPlan, entry: ModelEntry, stack: str) -> Prediction:
    """Return what a stack expects of one replica of a model."""
    tokens = plan.throughput.concurrency * (entry.workload.input_tokens + entry.workload.output_tokens)
    return Prediction(
        model=plan.model,
        gpu=plan.gpu,
        gpu_source=f"stack {stack}",
        total_source="catalogue",
        engine=plan.engine,
        sources=dict.fromkeys(asdict(plan.engine), f"stack {stack}"),
        memory=plan.memory,
        stack=stack,
        tokens_needed=round(tokens),
        replicas=plan.replicas.expected,
    )


def _rebased(sizing: Sizing, graphs_in_budget: bool | None) -> MemoryEstimate:
    """Return the estimate with the graphs where this start had them; a switch of the environment can move them."""
    memory, usually = sizing.memory, version_rules(sizing.engine.vllm_version).cuda_graphs == "inside"
    if graphs_in_budget is None or graphs_in_budget == usually or memory.kv_cache_gib <= 0:
        return memory
    moved = -memory.cuda_graph_gib if graphs_in_budget else memory.cuda_graph_gib
    share = max(memory.kv_cache_gib + moved, 0.0) / memory.kv_cache_gib
    spread = memory.kv_cache_gib_interval
    return replace(
        memory,
        kv_cache_gib=memory.kv_cache_gib + moved,
        kv_cache_gib_interval=Interval(p10=spread.p10 + moved, p50=spread.p50 + moved, p90=spread.p90 + moved),
        kv_tokens=int(memory.kv_tokens * share),
        max_concurrency=memory.max_concurrency * share,
    )


def _contradictions(measured: Measured, gpu: Gpu, sizing: Sizing) -> list[str]:
    notes = []
    total = measured.total_gib
    if total is not None and abs(total - gpu.total_gib) > OTHER_CARD * gpu.total_gib:
        notes.append(f"the {measured.source} reports {total:g} GiB, {gpu.name} has {gpu.total_gib:g}")
    if measured.vllm_version is None and sizing.sources.get("vllm_version") != "stated":
        notes.append(f"the {measured.source} names no version: {sizing.engine.vllm_version} is assumed")
    return notes


def stack_prediction(
    measured: Measured,
    plan: StackPlan,
    entries: Sequence[ModelEntry],
    name: str | None,
    catalogue: Catalogue,
) -> Prediction:
    """Return what a stack expects of its model ``name``; BadInput lists the models without a valid name."""
    wanted = [(one, entry) for one in plan.models for entry in entries if one.name == entry.name]
    if name is not None:
        wanted = [(one, entry) for one, entry in wanted if name in {one.name, one.model}]
    if len(wanted) != 1:
        problem = f"{name!r} is not in stack {plan.stack}" if name is not None else f"{plan.stack} has several models"
        way_out = "name one with --model: " + ", ".join(one.name for one in plan.models)
        raise BadInput("model", problem, way_out=way_out)
    expected = prediction_of_plan(*wanted[0], plan.stack)
    return replace(expected, other_model=_other_model(measured, expected.model, catalogue))


def _other_model(measured: Measured, planned: str, catalogue: Catalogue) -> str | None:
    """Return the model that the engine names, if the catalogue knows it and it is not the planned one."""
    try:
        served = catalogue.model(find_model_name(measured, None, catalogue)).name
    except BadInput:
        return None
    return None if served == planned else served
