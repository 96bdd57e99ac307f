"""Input checks before the search."""

from __future__ import annotations

from sizing.catalogue import Catalogue, Gpu
from sizing.errors import BadInput
from sizing.inputs import Capacity, ModelEntry
from sizing.models.spec import ModelSpec
from sizing.performance.prediction import check_answer
from sizing.serving.longest_answer import check_longest_answer


def allowed_gpus(entry: ModelEntry, capacity: Capacity, catalogue: Catalogue) -> tuple[Gpu, ...]:
    """Return the GPU types that entry and capacity allow, by name; BadInput for an unknown one."""
    allowed = catalogue.gpus if capacity.gpus is None else tuple(catalogue.gpu(name) for name in capacity.gpus)
    if entry.engine.gpu is not None:
        wanted = catalogue.gpu(entry.engine.gpu)
        if wanted.name not in {gpu.name for gpu in allowed}:
            names = ", ".join(sorted(gpu.name for gpu in allowed))
            raise BadInput(f"models.{entry.name}.engine.gpu", f"{wanted.name} is not in capacity.gpus", limit=names)
        allowed = (wanted,)
    return tuple(sorted({gpu.name: gpu for gpu in allowed}.values(), key=lambda gpu: gpu.name))


def check_lengths(entry: ModelEntry, model: ModelSpec) -> None:
    """Raise BadInput for requests (mean, p95) longer than the context or max_model_len, and for output tokens of a
    model that generates none.
    """
    load = entry.workload
    check_answer(model, load.output_tokens, f"models.{entry.name}.workload.outputTokens")
    longest = min(model.max_position_embeddings, entry.engine.max_model_len or model.max_position_embeddings)
    check_longest_answer(entry, model, longest)
    requests = {
        "inputTokens + outputTokens": load.input_tokens + load.output_tokens,
        "inputTokensP95 + outputTokens": (load.input_tokens_p95 or 0) + load.output_tokens,
        "inputTokens + outputTokensP95": load.input_tokens + (load.output_tokens_p95 or 0),
    }
    for sum_of, tokens in requests.items():
        if tokens <= longest:
            continue
        raise BadInput(
            f"models.{entry.name}.workload",
            f"{sum_of} = {tokens} is longer than a request may be",
            limit=f"{longest} tokens for {model.name}",
            way_out="shorten the request or choose a model with a longer context",
        )
