"""One plain request to the API server: documents in, documents out, the server's own words on refusal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from kubernetes.client import ApiClient
from kubernetes.client.exceptions import ApiException

APPLY = "application/apply-patch+yaml"
TIMEOUT_S = 120.0
"""A machine at work on other things may leave the server without a core for long; it answers in milliseconds else."""


def request(
    api: ApiClient,
    method: str,
    path: str,
    *,
    body: Mapping[str, Any] | None = None,
    query: Mapping[str, str] | None = None,
    content_type: str = "application/json",
    timeout_s: float = TIMEOUT_S,
) -> dict[str, Any]:
    """Send ``method path?query`` with ``body`` as JSON; return the answer as a plain document.

    Raises ``ApiException`` with the server's status and body when it refuses.
    """
    url = f"{api.configuration.host}{path}{f'?{urlencode(query)}' if query else ''}"
    headers = {
        "Accept": "application/json",
        "Authorization": str(api.configuration.api_key["authorization"]),
        # a patch is sent as it is given; JSON is YAML
        "Content-Type": content_type,
    }
    payload = None if body is None else json.dumps(body).encode()
    answer = api.rest_client.pool_manager.request(
        method, url, body=payload, headers=headers, timeout=timeout_s, retries=False
    )
    if not 200 <= answer.status < 300:
        error = ApiException(status=answer.status, reason=answer.reason)
        error.body = answer.data.decode(errors="replace")
        raise error
    return dict(json.loads(answer.data)) if answer.data else {}


def reason(error: ApiException) -> str:
    """Return what the server said, as one line."""
    try:
        return str(json.loads(error.body or "")["message"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason)
