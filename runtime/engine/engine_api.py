"""The few calls that our programs make to the engine in their own pod."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPException
from urllib.error import HTTPError

from .document import base_url

UNREACHABLE = (OSError, HTTPException, ValueError)
"""What a call raises while the engine does not answer, or answers nonsense."""
REFUSALS = frozenset(range(400, 500)) - {HTTPStatus.TOO_MANY_REQUESTS} | {HTTPStatus.NOT_IMPLEMENTED}
"""Answers that the API server gives without its core."""


def call(path: str, *, timeout_s: float, body: Mapping[str, object] | None = None) -> bytes:
    """Return the answer to a GET, or to a POST of ``body``; raises one of ``UNREACHABLE`` for anything but 2xx."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {os.environ.get('VLLM_API_KEY', '')}", "Content-Type": "application/json"}
    request = urllib.request.Request(base_url() + path, data=data, headers=headers)  # noqa: S310 - our own address
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
        content: bytes = answer.read()
    return content


def in_flight(metrics: str) -> int:
    """Return the requests running or waiting, from the text of ``/metrics``."""
    names = ("vllm:num_requests_running", "vllm:num_requests_waiting")
    lines = [line.rpartition(" ") for line in metrics.splitlines()]
    return round(sum(float(value) for series, _, value in lines if series.partition("{")[0] in names))


def is_refusal(error: BaseException) -> bool:
    """Say whether the API server refused a prompt without its core, as one that only embeds refuses a completion.

    It proves neither that the core works nor that it fails. A full queue (429) is none.
    """
    return isinstance(error, HTTPError) and error.code in REFUSALS
