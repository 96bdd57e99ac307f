"""Where a model description comes from: the catalogue, a ``config.json``, a folder with one, or the Hub.

Names and files are the business of ``sizing.model_source``; this module adds the download, which the pure core may not
do. It follows the environment of the Hub's own client: ``HF_ENDPOINT``, ``HF_TOKEN``, ``HF_HUB_OFFLINE``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cli.files import MIB, parse_json_object
from sizing.errors import BadInput

if TYPE_CHECKING:
    from sizing.catalogue import Catalogue
    from sizing.model import ModelSpec

CONFIG_LIMIT_BYTES = MIB
INDEX_LIMIT_BYTES = 64 * MIB
LONGEST_NAME = 300
HUB_ID = re.compile(r"[A-Za-z0-9][\w-]*(\.[\w-]+)*/[A-Za-z0-9][\w-]*(\.[\w-]+)*")
HUB_TIMEOUT_S = 5


def find_model(name: str, catalogue: Catalogue) -> ModelSpec:
    """Return the model that ``name`` stands for; BadInput says what was tried and the way out."""
    from sizing.model_source import is_local, load_model

    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise BadInput("MODEL", f"{name[:40]!r} is no name of a model", limit=f"{LONGEST_NAME} printable characters")
    if is_local(name):
        return load_model(name, catalogue)
    try:
        return catalogue.model(name)
    except BadInput as unknown:
        nearest = unknown.way_out if unknown.way_out.startswith("nearest") else "tonnage catalogue show lists what is"
        way_out = f"{nearest}; or name its config.json or a folder with one"
        if not HUB_ID.fullmatch(name):
            raise BadInput("MODEL", unknown.problem, way_out=way_out) from unknown
        return _from_hub(name, unknown.problem, way_out)


def _from_hub(name: str, problem: str, way_out: str) -> ModelSpec:
    from sizing.model import model_from_config

    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in {"1", "ON", "YES", "TRUE"}:
        raise BadInput("MODEL", f"{problem}, and HF_HUB_OFFLINE forbids to ask the Hub", way_out=way_out)
    try:
        config = _fetch(name, "config.json", CONFIG_LIMIT_BYTES)
    except OSError as error:
        raise BadInput(
            "MODEL", f"{problem}, and the Hub gave no config.json ({_reason(error)})", way_out=way_out
        ) from error
    try:
        index = _fetch(name, "model.safetensors.index.json", INDEX_LIMIT_BYTES)
    except OSError:
        index = {}  # a model of one file has none
    return model_from_config(config, name=name, checkpoint_bytes=_total_size(index))


def _fetch(name: str, file: str, limit_bytes: int) -> Mapping[str, Any]:
    """Return one JSON file of the main revision; OSError when the Hub cannot be reached or refuses."""
    from http.client import HTTPException
    from urllib.request import Request, urlopen

    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    if not endpoint.startswith(("https://", "http://")):
        raise BadInput("HF_ENDPOINT", f"{endpoint!r} is not an http or https address")
    token = os.environ.get("HF_TOKEN", "")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = Request(f"{endpoint}/{name}/resolve/main/{file}", headers=headers)  # noqa: S310 - scheme checked above
    try:
        with urlopen(request, timeout=HUB_TIMEOUT_S) as answer:  # noqa: S310
            content = answer.read(limit_bytes + 1)
    except HTTPException as error:
        raise ConnectionError(str(error)) from error
    return parse_json_object(content, f"MODEL: {name}/{file}", limit_bytes=limit_bytes)


def _total_size(index: Mapping[str, Any]) -> int | None:
    metadata = index.get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    return total if isinstance(total, int) and not isinstance(total, bool) and total > 0 else None


def _reason(error: OSError) -> str:
    return str(getattr(error, "reason", "") or error.strerror or error)[:120]
