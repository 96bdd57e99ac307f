"""A model described by its ``config.json``: the one door to the families, which know the fields."""

from __future__ import annotations

from collections.abc import Mapping

from sizing.errors import BadInput
from sizing.models.blocks.parts import Identity
from sizing.models.families import family_of
from sizing.models.spec import ModelSpec

CHECKPOINT_TOLERANCE = 0.2
"""A checkpoint may hold a tied head twice or leave out scales; beyond this share it is another model."""


def model_from_config(
    config: Mapping[str, object], *, name: str, checkpoint_bytes: int | None = None, revision: str = ""
) -> ModelSpec:
    """Describe a model by its ``config.json``.

    ``checkpoint_bytes`` is the size of its safetensors files when known. Raises BadInput for an architecture
    that is not modelled, and for fields that are missing, of a wrong type, or absurd.
    """
    if not isinstance(config, Mapping):
        raise BadInput("config.json", f"expected an object, got {type(config).__name__}")
    if checkpoint_bytes is not None and not 0 < checkpoint_bytes < 1 << 50:
        raise BadInput("checkpoint bytes", f"{checkpoint_bytes}", limit="1 to 2**50")
    identity = Identity(name=name, revision=revision, checkpoint_bytes=checkpoint_bytes)
    model = family_of(config)(config, identity)
    if checkpoint_bytes is not None:
        _check_checkpoint(model, checkpoint_bytes)
    return model


def _check_checkpoint(model: ModelSpec, checkpoint_bytes: int) -> None:
    """Refuse a checkpoint that the configuration does not describe, for example one quantised in another file."""
    described = model.weight_bytes()
    if not 1 - CHECKPOINT_TOLERANCE < checkpoint_bytes / described < 1 + CHECKPOINT_TOLERANCE:
        gib = 1 << 30
        raise BadInput(
            "checkpoint",
            f"{checkpoint_bytes / gib:.2f} GiB of weights, but config.json describes {described / gib:.2f} GiB",
            limit=f"within {CHECKPOINT_TOLERANCE:.0%}",
            way_out="complete the download, or state torch_dtype and quantization_config as the checkpoint is stored",
        )
