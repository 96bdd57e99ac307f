"""A running vLLM server, read over HTTP: bounded in size and time, no file, no other scheme, no credentials."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from cli.adapters.files import MIB, parse_json_object
from sizing.errors import BadInput

if TYPE_CHECKING:
    from sizing.observe.endpoint_metrics import Sample
    from sizing.observe.measured import Measured
    from sizing.observe.running import Running

WHERE = "--endpoint"
METRICS = "/metrics"
LIMIT_BYTES = 8 * MIB
TIMEOUT_S = 5.0
"""Socket timeout; the whole answer may take three times as long."""
LONGEST_ADDRESS = 2000
Answer = TypeVar("Answer")


def read_endpoint(address: str, *, timeout_s: float = TIMEOUT_S) -> Measured:
    """Return what the server at ``address`` reports; BadInput in one line when it does not answer or is no vLLM."""
    return _measured(server_address(address), scrape(address, timeout_s=timeout_s), timeout_s)


def scrape(address: str, *, timeout_s: float = TIMEOUT_S) -> list[Sample]:
    """Return the samples of ``/metrics``; BadInput in one line when nothing answers or it is no Prometheus text."""
    return samples(_fetch(server_address(address) + METRICS, timeout_s))


def read_twice(address: str, interval_s: float, *, timeout_s: float = TIMEOUT_S) -> tuple[Measured, Running]:
    """Return what the server at ``address`` reports, and its traffic between two scrapes ``interval_s`` apart."""
    from sizing.observe.running import running_of_scrapes

    before, began = scrape(address, timeout_s=timeout_s), time.monotonic()
    measured = _measured(server_address(address), before, timeout_s)
    time.sleep(max(interval_s - (time.monotonic() - began), 0.0))
    after, ended = scrape(address, timeout_s=timeout_s), time.monotonic()
    seconds = max(round(ended - began, 1), interval_s)
    return measured, running_of_scrapes(before, after, seconds=seconds, scraped_at_s=time.time())


def _measured(base: str, found: list[Sample], timeout_s: float) -> Measured:
    from sizing.observe.endpoint_metrics import endpoint_metrics
    from sizing.observe.measured import measured_of_endpoint

    metrics = endpoint_metrics(found)
    served = _optional(base + "/v1/models", timeout_s)
    entries = served.get("data")
    first = entries[0] if isinstance(entries, list) and entries and isinstance(entries[0], dict) else {}
    length, root = first.get("max_model_len"), first.get("root")
    version = _optional(base + "/version", timeout_s).get("version")
    return measured_of_endpoint(
        metrics,
        vllm_version=version if isinstance(version, str) else None,
        max_model_len=length if isinstance(length, int) and 0 < length < 10**9 else None,
        model=root if isinstance(root, str) and root else None,
    )


def server_address(address: str) -> str:
    """Return scheme, host and path of the server without ``/metrics``; BadInput when it is no http address."""
    try:
        parts = urlsplit(address.strip())
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    plain = len(address) <= LONGEST_ADDRESS and address.isprintable() and " " not in address.strip()
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0 or not plain:
        problem = f"{address[:100]!r} is not an http or https address"
        raise BadInput(WHERE, problem, way_out="for example http://127.0.0.1:8000")
    if "@" in parts.netloc:
        raise BadInput(WHERE, "the address holds credentials", way_out="reach the server through a port-forward")
    path = parts.path.rstrip("/").removesuffix(METRICS).rstrip("/")
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def samples(content: bytes) -> list[Sample]:
    """Return the samples in Prometheus text; BadInput when it is none."""
    from prometheus_client.parser import text_string_to_metric_families

    from sizing.observe.endpoint_metrics import Sample

    try:
        families = list(text_string_to_metric_families(content.decode("utf-8")))
        found = [sample for family in families for sample in family.samples]
        return [Sample(name=sample.name, labels=sample.labels, value=float(sample.value)) for sample in found]
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise BadInput(WHERE, f"{METRICS} is not Prometheus text: {str(error)[:120]!r}") from error


def _optional(address: str, timeout_s: float) -> dict[str, Any]:
    """Return the JSON object at ``address``, or an empty one: gateways often expose only /metrics."""
    try:
        return dict(parse_json_object(_fetch(address, timeout_s), WHERE, limit_bytes=LIMIT_BYTES))
    except (BadInput, json.JSONDecodeError):
        return {}


def _fetch(address: str, timeout_s: float) -> bytes:
    return _within(3 * timeout_s, lambda: _get(address, timeout_s), address)


def _get(address: str, timeout_s: float) -> bytes:
    from http.client import HTTPException
    from urllib.error import HTTPError

    try:
        with _opener().open(address, timeout=timeout_s) as answer:
            content: bytes = answer.read(LIMIT_BYTES + 1)
    except HTTPError as error:
        raise BadInput(WHERE, f"{address} answers {error.code} {str(error.reason)[:80]}") from error
    except (OSError, HTTPException, ValueError) as error:
        reason = str(getattr(error, "reason", "") or getattr(error, "strerror", "") or error or type(error).__name__)
        raise BadInput(WHERE, f"{address} does not answer: {reason[:120]}") from error
    if len(content) > LIMIT_BYTES:
        raise BadInput(WHERE, f"{address} sends too much", limit=f"{LIMIT_BYTES // MIB} MiB")
    return content


def _opener() -> Any:
    """Return an opener that knows http and https alone, redirections within them included."""
    from urllib import request

    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler, request.UnknownHandler, request.HTTPHandler, request.HTTPSHandler,
        request.HTTPDefaultErrorHandler, request.HTTPRedirectHandler, request.HTTPErrorProcessor,
    ):  # fmt: skip
        opener.add_handler(handler())
    return opener


def _within(seconds: float, call: Callable[[], Answer], address: str) -> Answer:
    """Return what ``call`` returns or raises; BadInput when it takes too long, as from a server that sends slowly."""
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise BadInput(WHERE, f"{address} takes too long", limit=f"{seconds:g} s")
    return answers[0]
