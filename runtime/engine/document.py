"""launch.json as the container reads it: checked completely before anything starts."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA = 1
DEFAULT_PATH = "/etc/tonnage/launch.json"
PORT = 8000
READY_MARKER = ".tonnage-ready"
"""File in the temporary folder that says: the warm-up has ended."""
PROGRESS = ".tonnage-progress"
"""File beside it with the engine's figures that the last probes saw, and since when they have not moved."""

OWNED_FLAGS = frozenset({"--api-key", "--host", "--model", "--port", "--root-path", "--ssl-keyfile", "--uds"})
"""Flags that decide where the engine listens, with which key and with which weights: the launcher's alone."""

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")


class BadDocument(ValueError):
    """launch.json or the environment cannot be used; the message names the place and the way out."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where the weights are and how they are read."""

    prefix: str
    format: str
    concurrency: int
    chunk_bytes: int
    memory_limit_bytes: int
    distributed: bool


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One engine: its name at the API, its flags, how it leaves, how it warms up."""

    name: str
    vllm_version: str
    engine_args: tuple[str, ...]
    weights: Weights
    pre_stop_s: int
    shutdown_timeout_s: int
    grace_period_s: int
    warm_up_budget_s: float
    max_model_len: int


def _get(document: Mapping[str, Any], path: str, kind: type | tuple[type, ...]) -> Any:
    """Return the value at a dotted path; a missing one or one of another type is refused by name."""
    value: Any = document
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            msg = f"launch.json: {path} is missing; hint: it is written by sizing/serving/launch.py, do not edit it"
            raise BadDocument(msg)
        value = value[key]
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        msg = f"launch.json: {path} is {value!r}, not {' or '.join(each.__name__ for each in kinds)}"
        raise BadDocument(msg)
    return value


def _positive(document: Mapping[str, Any], path: str) -> int:
    value: int = _get(document, path, int)
    if value < 0:
        msg = f"launch.json: {path} is {value}; limit: 0 or more"
        raise BadDocument(msg)
    return value


def _name(document: Mapping[str, Any], path: str) -> str:
    value: str = _get(document, path, str)
    if not SAFE_NAME.fullmatch(value) or ".." in value.split("/"):
        msg = f"launch.json: {path} is {value!r}; limit: letters, digits, '.', '_', '-', '/'"
        raise BadDocument(msg)
    return value


def _engine_args(document: Mapping[str, Any]) -> tuple[str, ...]:
    args: list[Any] = _get(document, "engine.args", list)
    for place, arg in enumerate(args):
        if not isinstance(arg, str):
            msg = f"launch.json: engine.args[{place}] is {arg!r}, not a string"
            raise BadDocument(msg)
        if arg.partition("=")[0] in OWNED_FLAGS:
            msg = f"launch.json: engine.args[{place}] is {arg.partition('=')[0]}, which only the launcher sets"
            raise BadDocument(msg)
    return tuple(args)


def _weights(document: Mapping[str, Any]) -> Weights:
    return Weights(
        prefix=_name(document, "weights.prefix"),
        format=_name(document, "weights.format"),
        concurrency=_positive(document, "weights.concurrency"),
        chunk_bytes=_positive(document, "weights.chunk_bytes"),
        memory_limit_bytes=_positive(document, "weights.memory_limit_bytes"),
        distributed=_get(document, "weights.distributed", bool),
    )


def parse(content: str) -> Launch:
    """Return the checked document; raises ``BadDocument`` with one line."""
    try:
        document = json.loads(content)
    except json.JSONDecodeError as error:
        msg = f"launch.json: not JSON, {error.msg} in line {error.lineno}"
        raise BadDocument(msg) from error
    schema = _get(document, "schema", int)
    if schema != SCHEMA:
        msg = f"launch.json: schema {schema}; limit: {SCHEMA}; hint: deploy the image of the same release"
        raise BadDocument(msg)
    launch = Launch(
        name=_name(document, "name"),
        vllm_version=_get(document, "engine.version", str),
        engine_args=_engine_args(document),
        weights=_weights(document),
        pre_stop_s=_positive(document, "drain.pre_stop_s"),
        shutdown_timeout_s=_positive(document, "drain.shutdown_timeout_s"),
        grace_period_s=_positive(document, "drain.grace_period_s"),
        warm_up_budget_s=float(_get(document, "warm_up.budget_s", (int, float))),
        max_model_len=_positive(document, "warm_up.max_model_len"),
    )
    if launch.pre_stop_s + launch.shutdown_timeout_s >= launch.grace_period_s:
        msg = (
            f"launch.json: drain.grace_period_s is {launch.grace_period_s}; "
            f"limit: above {launch.pre_stop_s} + {launch.shutdown_timeout_s}, else answers are cut"
        )
        raise BadDocument(msg)
    return launch


def load(path: str | None = None) -> Launch:
    """Return the document at ``path`` (default: TONNAGE_LAUNCH, else where the ConfigMap is mounted)."""
    place = Path(path or os.environ.get("TONNAGE_LAUNCH", DEFAULT_PATH))
    try:
        content = place.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"launch.json: cannot be read at {place}, {type(error).__name__}; hint: mount the ConfigMap there"
        raise BadDocument(msg) from error
    return parse(content)


def base_url() -> str:
    """Return the engine's address inside its own pod."""
    return f"http://127.0.0.1:{int(os.environ.get('TONNAGE_PORT', PORT))}"


def ready_marker() -> Path:
    """Return the path of the file that exists once the engine has been warmed up."""
    return Path(os.environ.get("TMPDIR", "/tmp")) / READY_MARKER  # noqa: S108 - a volume of the pod alone


def progress_file() -> Path:
    """Return the path of the file in which one readiness probe tells the next what it saw."""
    return ready_marker().with_name(PROGRESS)
