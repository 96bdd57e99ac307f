"""Where a model description comes from: the catalogue, a ``config.json``, a folder with one, or the Hub.

``sizing.catalogue.model_source`` handles names and files; this module adds the download of config.json and of the
safetensors headers (``cli.adapters.hub``), which the core may not do. ``HF_HUB_OFFLINE`` disables it.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING

from sizing.errors import BadInput

if TYPE_CHECKING:
    from sizing.catalogue import Catalogue
    from sizing.models.spec import ModelSpec

LONGEST_NAME = 300
HUB_ID = re.compile(r"[A-Za-z0-9][\w-]*(\.[\w-]+)*/[A-Za-z0-9][\w-]*(\.[\w-]+)*")


def find_draft(name: str, method: str | None, catalogue: Catalogue) -> ModelSpec:
    """Return the draft model ``name``; a head of another model for every method but ``draft``."""
    try:
        return find_model(name, catalogue, head=method != "draft")
    except BadInput as error:
        if error.where.lower() != "model":
            raise
        raise BadInput("--draft-model", error.problem, limit=error.limit, way_out=error.way_out) from error


def find_model(name: str, catalogue: Catalogue, *, head: bool = False) -> ModelSpec:
    """Return the model ``name``; BadInput says what was tried, with a hint.

    The checkpoint of a ``head`` lacks the weights that it shares with its model, so it is not compared.
    """
    from sizing.catalogue.model_source import is_local, load_model

    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise BadInput("MODEL", f"{name[:40]!r} is no name of a model", limit=f"{LONGEST_NAME} printable characters")
    if is_local(name):
        return load_model(name, catalogue, head=head)
    try:
        return catalogue.model(name)
    except BadInput as unknown:
        nearest = unknown.way_out if unknown.way_out.startswith("nearest") else "tonnage catalogue show lists what is"
        way_out = f"{nearest}; or name its config.json or a folder with one"
        if not HUB_ID.fullmatch(name):
            raise BadInput("MODEL", unknown.problem, way_out=way_out) from unknown
        return _from_hub(name, unknown.problem, way_out, head=head)


def _from_hub(name: str, problem: str, way_out: str, *, head: bool) -> ModelSpec:
    from cli.adapters.hub import CONFIG_LIMIT_BYTES, fetch_checkpoint, fetch_json
    from sizing.catalogue.model_source import modelopt_of
    from sizing.models.checkpoint import with_checkpoint
    from sizing.models.from_config import model_from_config

    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in {"1", "ON", "YES", "TRUE"}:
        raise BadInput("MODEL", f"{problem}, and HF_HUB_OFFLINE forbids to ask the Hub", way_out=way_out)
    try:
        config = dict(fetch_json(name, "config.json", CONFIG_LIMIT_BYTES))
    except OSError as error:
        raise BadInput(
            "MODEL", f"{problem}, and the Hub gave no config.json ({_reason(error)})", way_out=way_out
        ) from error
    if "quantization_config" not in config:
        with contextlib.suppress(OSError):  # only ModelOpt keeps it in a file of its own
            config["quantization_config"] = modelopt_of(fetch_json(name, "hf_quant_config.json", CONFIG_LIMIT_BYTES))
    model = model_from_config(config, name=name)
    if head:
        return model
    return with_checkpoint(model, fetch_checkpoint(name, tied=model.tie_word_embeddings))


def _reason(error: OSError) -> str:
    return str(getattr(error, "reason", "") or error.strerror or error)[:120]
