"""One engine for simulations of days: that of ``benchmarks.simulator``, which jumps over steps where nothing happens.

Between an admission and the first end of an answer the batch decodes with contexts that grow by one token a step, so
those steps take the mean of the first and the last. A call that arrives meanwhile cuts the jump at the end of the step
that is running. ``tests/benchmarks/test_autoscaling.py`` holds it against the simulator, step by step.

Times are seconds, lengths tokens.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from typing import Any

from benchmarks.simulator import Limits, Step

CONTEXT_STEP = 16
"""Contexts are rounded to this many tokens where the time of a step of decodes is looked up."""
MOST_KEPT = 200_000


class Call:
    """One request: arrival and lengths; ``sent_s`` (to an engine), ``first_s`` and ``end_s`` are moments to come."""

    __slots__ = (
        "arrival_s",
        "cached_tokens",
        "end_s",
        "first_s",
        "input_tokens",
        "may_wait",
        "output_tokens",
        "sent_s",
    )

    def __init__(
        self, arrival_s: float, input_tokens: int, output_tokens: int, cached_tokens: int = 0, *, may_wait: bool = False
    ) -> None:
        self.may_wait = may_wait
        self.arrival_s = arrival_s
        self.input_tokens = input_tokens
        self.output_tokens = output_tokens
        self.cached_tokens = cached_tokens
        self.sent_s = arrival_s
        self.first_s = math.inf
        self.end_s = math.inf

    @property
    def held(self) -> float:
        """KV tokens at half of its growth, which is what it holds on average."""
        return self.input_tokens + self.output_tokens / 2

    @property
    def ttft_s(self) -> float:
        """Seconds from its arrival to the first token."""
        return self.first_s - self.arrival_s

    @property
    def tpot_s(self) -> float:
        """Seconds for each token after the first; 0 where there is none."""
        return (self.end_s - self.first_s) / (self.output_tokens - 1) if self.output_tokens > 1 else 0.0


class StepTimes:
    """Times of steps, those of decodes alone remembered by batch and mean context; engines share one."""

    def __init__(self, step_time: Callable[[Step], float]) -> None:
        self.of = step_time
        self._kept: dict[tuple[int, int], float] = {}

    def decode_s(self, decodes: int, context: float) -> float:
        """Return the time of a step of ``decodes`` with ``context`` tokens in all."""
        key = (decodes, int(context / decodes) // CONTEXT_STEP)
        found = self._kept.get(key)
        if found is None:
            if len(self._kept) > MOST_KEPT:
                self._kept.clear()
            middle = (key[1] + 0.5) * CONTEXT_STEP
            found = self._kept[key] = self.of(Step(decodes, middle * decodes, 0, 0.0, 0))
        return found


class Engine:
    """One engine: ``submit`` calls as they arrive and ``advance`` it.

    ``begun`` is called with each call that has its first token, ``ended`` with each that has its last.
    """

    def __init__(
        self,
        limits: Limits,
        times: StepTimes,
        begun: Callable[[Call], None],
        ended: Callable[[Call], None],
        *,
        request_s: float = 0.0,
    ) -> None:
        self.limits, self.times, self.begun, self.ended, self.request_s = limits, times, begun, ended, request_s
        self.clock = 0.0
        self.until = math.inf
        """When the steps that run now end; infinite while it is idle."""
        self.steps = 0
        self.waiting: deque[Call] = deque()
        self.prefilling: deque[list[Any]] = deque()
        """Calls in prefill, each with the tokens that are done."""
        self.decoding: list[tuple[int, int, Call]] = []
        self.reserved = 0.0
        self._context = 0.0
        self._count = 0
        self._jump = 0
        self._step_s = 0.0
        self._prefilled: list[Call] = []

    @property
    def in_flight(self) -> int:
        """Calls that are in it."""
        return len(self.waiting) + len(self.prefilling) + len(self.decoding)

    @property
    def calls(self) -> list[Call]:
        """Calls that are in it."""
        prefilling = [row[0] for row in self.prefilling]
        return [*self.waiting, *prefilling, *(call for _, _, call in self.decoding)]

    def submit(self, call: Call, now_s: float) -> None:
        """Take a call at ``now_s``, up to which the engine must have been advanced."""
        call.sent_s = now_s
        self.waiting.append(call)
        if self.until == math.inf:
            self.clock = now_s
            self._begin()
        elif self._jump > 1 and self._admits(call):
            steps = max(math.ceil((now_s - self.clock) / self._step_s - 1e-9), 1)
            if steps < self._jump:
                self._jump, self.until = steps, self.clock + steps * self._step_s

    def advance(self, now_s: float) -> None:
        """Run every step that ends by ``now_s``."""
        while self.until <= now_s:
            self._end()
            self._begin()

    def _admits(self, call: Call) -> bool:
        running = len(self.prefilling) + len(self.decoding)
        if not running:
            return True
        return running < self.limits.max_num_seqs and self.reserved + call.held <= self.limits.kv_tokens

    def _begin(self) -> None:
        while self.waiting and self._admits(self.waiting[0]):
            call = self.waiting.popleft()
            self.reserved += call.held
            self.prefilling.append([call, call.cached_tokens])
        if self.prefilling:
            self._jump, self._step_s = 1, self._prefill_s()
        elif self.decoding:
            self._jump, batch = self.decoding[0][0] - self.steps, len(self.decoding)
            last = self._context + (self._jump - 1) * batch * self.limits.tokens_per_step
            self._step_s = (self.times.decode_s(batch, self._context) + self.times.decode_s(batch, last)) / 2
        else:
            self.until = math.inf
            return
        self.until = self.clock + self._jump * self._step_s

    def _prefill_s(self) -> float:
        """Add chunks of prompts to the decodes of one step; return its time."""
        batch, context = len(self.decoding), self._context
        budget, tokens, pairs, prompts = self._room(batch), 0, 0.0, 0
        while self.prefilling and budget > 0:
            call, done = self.prefilling[0]
            take = min(budget, call.input_tokens - done)
            pairs += take * (2 * done + take)
            tokens, budget, prompts = tokens + take, budget - take, prompts + 1
            if done + take < call.input_tokens:
                self.prefilling[0][1] = done + take
                break
            self.prefilling.popleft()
            self._prefilled.append(call)
        return self.times.of(Step(batch, context, tokens, pairs, prompts))

    def _room(self, decodes: int) -> int:
        """Return the prompt tokens that fit a step with ``decodes`` and their drafted tokens."""
        return max(self.limits.max_num_batched_tokens - decodes * (1 + self.limits.draft_tokens), 0)

    def _end(self) -> None:
        self.clock = self.until
        self.steps += self._jump
        self._context += len(self.decoding) * self._jump * self.limits.tokens_per_step
        while self.decoding and self.decoding[0][0] <= self.steps:
            self._leave(heapq.heappop(self.decoding)[2])
        for call in self._prefilled:
            call.first_s = self.clock + self.request_s
            self.begun(call)
            if call.output_tokens <= 1:
                self._context += call.input_tokens + call.output_tokens
                self._leave(call)
            else:
                self._context += call.input_tokens + 1
                self._count += 1
                heapq.heappush(self.decoding, (self.steps + self._steps(call), self._count, call))
        self._prefilled.clear()

    def _steps(self, call: Call) -> int:
        """Return the steps of its answer after the first token, with the drafts that are accepted on average."""
        return math.ceil((call.output_tokens - 1) / self.limits.tokens_per_step - 1e-9)

    def _leave(self, call: Call) -> None:
        call.end_s = self.clock + self.request_s
        self._context -= call.input_tokens + 1 + self._steps(call) * self.limits.tokens_per_step
        self.reserved -= call.held
        self.ended(call)
