"""The few calls that our programs make to the engine in their own pod."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException

from .document import base_url

UNREACHABLE = (OSError, HTTPException, ValueError)
"""What a call raises while the engine does not answer, or answers nonsense."""


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
