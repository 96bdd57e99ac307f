"""Warm-up: the first requests compile and capture, so ours are the first ones, and readiness waits for them.

A warm-up that takes too long does not hold the replica back: a slow first answer is better than none. One in which the
engine fails (HTTP 500 and above) does: no later prompt would fare better, so the launcher ends and Kubernetes starts it
again. An engine that refuses the prompt, as one that only embeds does, is well.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from urllib.error import HTTPError

from .document import Launch, ready_marker
from .engine_api import UNREACHABLE, call, is_refusal

POLL_S = 0.5
ANSWER_TOKENS = 8
PROMPT_WORDS = (1, 64, 512)
"""Prompt lengths in words: a single token, a usual prompt, one that fills a prefill step."""
LEAST_S = 5.0
"""The warm-up has at least this long: a plan that expects next to nothing may be wrong."""
SHOWN_BYTES = 300
"""How much of the answer to a failed prompt is printed."""


class WarmUpFailed(Exception):
    """The engine listens but does not answer a prompt; the message names the prompt and the problem."""

    def __init__(self, words: int, problem: str) -> None:
        super().__init__(f"a prompt of {words} words {problem}")


def _wait_until_served(stopping: threading.Event) -> bool:
    """Wait for the engine to listen, which it does once its weights are loaded; False when asked to stop."""
    while not stopping.wait(POLL_S):
        try:
            call("/health", timeout_s=5.0)
        except UNREACHABLE:
            continue
        return True
    return False


def _ask(launch: Launch, words: int, timeout_s: float) -> None:
    body = {"model": launch.name, "prompt": "warm " * words, "max_tokens": ANSWER_TOKENS, "temperature": 0}
    call("/v1/completions", timeout_s=timeout_s, body=body)


def _is_time_out(error: BaseException) -> bool:
    return isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError)


def _problem(error: BaseException) -> str:
    """Return what the engine did, in words; of an HTTP error also the beginning of its answer."""
    if not isinstance(error, HTTPError):
        return f"had no answer, {error}"
    try:
        content = error.read(SHOWN_BYTES).decode(errors="replace")
    except UNREACHABLE:
        content = ""
    return f"was answered with HTTP {error.code} {' '.join(content.split())}".rstrip()


def _prompt(launch: Launch, words: int, deadline: float, stopping: threading.Event) -> str | None:
    """Send one prompt until it is answered; None for an answer, else why not: raises ``WarmUpFailed`` for an error."""
    problem: BaseException | None = None
    while not stopping.is_set():
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            _ask(launch, words, left)
        except UNREACHABLE as error:
            if _is_time_out(error):
                return "given up, out of time"
            if is_refusal(error):
                return f"given up, {_problem(error)}"
            if isinstance(error, HTTPError) and error.code != HTTPStatus.TOO_MANY_REQUESTS:
                raise WarmUpFailed(words, _problem(error)) from error
            problem = error  # no connection, or a full queue: the launcher sees whether the engine ends
            stopping.wait(POLL_S)
        else:
            return None
    if problem is not None:
        raise WarmUpFailed(words, _problem(problem))
    return "given up, out of time"


def _prompts(launch: Launch, deadline: float, stopping: threading.Event) -> str:
    for words in PROMPT_WORDS:
        if 2 * words + ANSWER_TOKENS > launch.max_model_len:
            break
        given_up = _prompt(launch, words, deadline, stopping)
        if given_up:
            return given_up
    return "done"


def run(launch: Launch, stopping: threading.Event, failed: Callable[[WarmUpFailed], None]) -> None:
    """Wait for the engine, send the prompts within twice the planned seconds, then mark the replica as ready.

    ``failed`` is called instead of marking when the engine answers a prompt with an error, unless it is leaving.
    """
    if not _wait_until_served(stopping):
        return
    began = time.monotonic()
    try:
        note = _prompts(launch, began + max(LEAST_S, 2 * launch.warm_up_budget_s), stopping)
    except WarmUpFailed as failure:
        if not stopping.is_set():
            failed(failure)
        return
    if stopping.is_set():
        return
    ready_marker().touch()
    seconds = round(time.monotonic() - began, 3)
    line = {"event": "warm-up", "note": note, "planned_s": launch.warm_up_budget_s, "seconds": seconds}
    print(json.dumps(line, sort_keys=True), file=sys.stderr, flush=True)
