"""Parallel configurations: one checkpoint on one number of GPUs, before its engine settings are chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from sizing.catalogue import Catalogue, Gpu
from sizing.errors import BadInput
from sizing.inputs import ModelEntry
from sizing.models.spec import ModelSpec

PARALLEL = ((1, 1), (2, 1), (4, 1), (8, 1), (1, 2), (2, 2), (4, 2), (1, 4), (2, 4))
"""Tensor and pipeline parallel sizes that are tried, up to the eight GPUs of one machine."""


RejectionKind = Literal[
    "above-limit",
    "cache-too-small",
    "does-not-fit",
    "misses-objectives",
    "more-expensive",
    "no-machine",
    "no-price",
    "not-sold",
    "pod-too-large",
    "quota",
    "settings",
    "too-few-zones",
    "too-many-replicas",
    "wrong-gpu-count",
]
"""Why an option was rejected; hints and the order of reasons depend on it, never on the text of a reason."""


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """An option that was rejected, and why: as a kind and as a sentence."""

    option: str
    kind: RejectionKind
    reason: str


ParallelKey = tuple[str, str, int, int]
"""Checkpoint, GPU, tensor and pipeline parallel size."""


@dataclass(frozen=True, kw_only=True)
class ParallelConfig:
    """One checkpoint on one set of GPUs, before its settings are chosen."""

    entry: ModelEntry
    model: ModelSpec
    gpu: Gpu
    tensor_parallel: int
    pipeline_parallel: int
    variant: bool = False
    """Whether the checkpoint is one of ``allowedVariants``."""

    @property
    def name(self) -> str:
        """GPU and parallel sizes, for a variant also the checkpoint: the name in rejections."""
        name = option_name(self.gpu.name, self.tensor_parallel, self.pipeline_parallel)
        return f"{name} {self.model.name.split('/')[-1]}" if self.variant else name

    @property
    def key(self) -> ParallelKey:
        """Identity of the configuration."""
        return (self.model.name, self.gpu.name, self.tensor_parallel, self.pipeline_parallel)

    @property
    def gpus(self) -> int:
        """GPUs of one engine."""
        return self.tensor_parallel * self.pipeline_parallel


def option_name(gpu: str, tensor_parallel: int, pipeline_parallel: int = 1) -> str:
    """Name an engine by GPU and parallel sizes: ``L40S TP4``, ``L40S TP2 PP2``."""
    name = f"{gpu} TP{tensor_parallel}"
    return name if pipeline_parallel == 1 else f"{name} PP{pipeline_parallel}"


def checkpoints(entry: ModelEntry, catalogue: Catalogue) -> tuple[ModelSpec, ...]:
    """Return the entry's checkpoint and the variants it allows; BadInput for one that is another model.

    A stated revision is that of the entry's own checkpoint: a variant is another repository, at its own commit.
    """
    base = catalogue.model(entry.model)
    base = replace(base, revision=entry.revision) if entry.revision else base
    found = {base.name: base}
    for name in entry.allowed_variants:
        model = catalogue.model(name)
        for part in ("num_layers", "hidden_size", "num_attention_heads", "num_kv_heads", "experts"):
            if getattr(model, part) != getattr(base, part):
                raise BadInput(
                    f"models.{entry.name}.allowedVariants",
                    f"{model.name} is no checkpoint of {base.name}: {part} {getattr(model, part)}",
                    limit=f"{getattr(base, part)}",
                    way_out="name quantised checkpoints of the same model",
                )
        found.setdefault(model.name, model)
    return tuple(found.values())


def parallel_sizes(entry: ModelEntry) -> tuple[tuple[int, int], ...]:
    """Return the tensor and pipeline parallel sizes to try: those that the entry does not fix."""
    tensor, pipeline = entry.engine.tensor_parallel, entry.engine.pipeline_parallel
    pairs = [(tensor or tp, pipeline or pp) for tp, pp in PARALLEL]
    return tuple(dict.fromkeys(pairs))
