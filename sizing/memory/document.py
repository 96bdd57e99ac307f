"""The answer of ``tonnage size`` as JSON: keys other programs parse."""

from __future__ import annotations

from sizing.catalogue.files import file_source
from sizing.documents import figure_documents
from sizing.engine.arguments import engine_args
from sizing.memory.size import Sizing

SIZE_SCHEMA = 1
"""Version of the document; a key is never renamed or removed within one."""


def size_document(sizing: Sizing) -> dict[str, object]:
    """Return the stable JSON document of ``tonnage size``: sizes in GiB per GPU, tokens over one engine."""
    memory = sizing.memory
    interval = memory.kv_cache_gib_interval
    return {
        "schema": SIZE_SCHEMA,
        "model": sizing.model.name,
        "gpu": sizing.gpu.name,
        "fits": memory.fits,
        "fits_at_p90": memory.fits_at_p90,
        "per_gpu": {
            "total_gib": _gib(memory.total_gib),
            "requested_gib": _gib(memory.requested_gib),
            "weights_gib": _gib(memory.weights_gib),
            "peak_activation_gib": _gib(memory.peak_activation_gib),
            "non_torch_gib": _gib(memory.non_torch_gib),
            "cuda_graph_gib": _gib(memory.cuda_graph_gib),
            "kv_cache_gib": _gib(memory.kv_cache_gib),
        },
        "kv": {
            "tokens": memory.kv_tokens,
            "max_concurrency": round(memory.max_concurrency, 3),
            "bytes_per_token": memory.kv_bytes_per_token,
        },
        "interval": {"kv_cache_gib": [_gib(interval.p10), _gib(interval.p90)]},
        "binding": memory.binding,
        "hints": list(memory.hints),
        "notes": list(sizing.notes),
        "inputs": _inputs(sizing),
        "engine_args": list(engine_args(sizing.model, sizing.engine)),
        "figures": figure_documents(memory.figures, digits=4, inputs_as_made=True),
    }


def _inputs(sizing: Sizing) -> dict[str, dict[str, object]]:
    """Everything resolved, with its source."""
    model = sizing.model
    stated = "stated"
    inputs: dict[str, tuple[object, str]] = {
        "model": (model.name, f"architecture {model.architecture}, family {model.family}"),
        "revision": (model.revision or None, "catalogue" if model.revision else "config.json without revision"),
        "parameters": (model.parameters, "shapes in config.json"),
        "quantisation": (model.quantisation.method, "config.json"),
        "gpu": (sizing.gpu.name, file_source("gpus")),
        "gpu_total_gib": (
            _gib(sizing.memory.total_gib),
            stated if sizing.gpu_total_gib is not None else file_source("gpus"),
        ),
        "weights_gib": (
            _gib(sizing.memory.weights_gib),
            stated if sizing.weights_gib is not None else "shapes in config.json",
        ),
    }
    for key in sorted(sizing.sources):
        inputs[key] = (getattr(sizing.engine, key), sizing.sources[key])
    return {key: {"value": value, "source": source} for key, (value, source) in inputs.items()}


def _gib(value: float) -> float:
    return round(value, 3)
