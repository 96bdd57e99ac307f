"""Warm-up: the first requests compile and capture, so ours are the first ones, and readiness waits for them.

A warm-up that fails or takes too long does not hold the replica back: a slow first answer is better than none.
"""

from __future__ import annotations

import json
import sys
import threading
import time

from .document import Launch, ready_marker
from .engine_api import UNREACHABLE, call

POLL_S = 0.5
ANSWER_TOKENS = 8
PROMPT_WORDS = (1, 64, 512)
"""Prompt lengths in words: a single token, a usual prompt, one that fills a prefill step."""


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


def run(launch: Launch, stopping: threading.Event) -> None:
    """Wait for the engine, send the prompts within twice the planned seconds, then mark the replica as ready."""
    if not _wait_until_served(stopping):
        return
    began, note = time.monotonic(), "done"
    deadline = began + max(5.0, 2 * launch.warm_up_budget_s)
    for words in PROMPT_WORDS:
        left = deadline - time.monotonic()
        if stopping.is_set() or left <= 0 or 2 * words + ANSWER_TOKENS > launch.max_model_len:
            break
        try:
            _ask(launch, words, left)
        except UNREACHABLE as error:
            note = f"given up, {type(error).__name__}"
            break
    ready_marker().touch()
    seconds = round(time.monotonic() - began, 3)
    line = {"event": "warm-up", "note": note, "planned_s": launch.warm_up_budget_s, "seconds": seconds}
    print(json.dumps(line, sort_keys=True), file=sys.stderr, flush=True)
