"""Discrete-event simulation of one engine with continuous batching and chunked prefill.

It knows nothing of the closed formulas of ``sizing.performance.queueing``: requests arrive, wait, are admitted while
sequences and KV tokens allow, prefill in chunks with the decodes of the others, and leave. One event is one engine
step, whose duration comes from ``step_time`` alone. The cost of a step is independent of the batch, because requests in
decode advance together: they are kept in a heap ordered by the step in which they end.

Times are seconds, lengths tokens.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Request:
    """One request: when it arrives and how long it is. ``cached`` prompt tokens need no prefill."""

    arrival_s: float
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True)
class Step:
    """What one engine step does: decodes with their contexts, and prompt tokens with the pairs they attend to."""

    decodes: int
    context_tokens: float
    prompt_tokens: int
    prompt_pairs: float
    prompts: int


@dataclass(frozen=True)
class Limits:
    """Limits of the engine."""

    max_num_seqs: int
    max_num_batched_tokens: int
    kv_tokens: int
    draft_tokens: int = 0
    """Tokens that are drafted for each decode of a step."""
    acceptance: float = 0.0
    """Share of them that the target accepts."""

    @property
    def tokens_per_step(self) -> float:
        """Tokens that a decode gains in a step."""
        return 1 + self.draft_tokens * self.acceptance

    def steps_of(self, tokens: int, chance: random.Random) -> int:
        """Return the steps in which a decode gains ``tokens``: of the drafted ones each is accepted by chance."""
        if not self.draft_tokens:
            return tokens
        steps = 0
        while tokens > 0:
            tokens -= 1 + sum(chance.random() < self.acceptance for _ in range(self.draft_tokens))
            steps += 1
        return steps


@dataclass
class Outcome:
    """What happened to one request, in the order of the requests."""

    first_token_s: float = 0.0
    end_s: float = 0.0


@dataclass
class _Prefill:
    index: int
    done: int
    total: int


@dataclass
class _Engine:
    requests: Sequence[Request]
    limits: Limits
    step_time: Callable[[Step], float]
    request_s: float
    clock: float = 0.0
    steps: int = 0
    waiting: deque[int] = field(default_factory=deque)
    prefilling: deque[_Prefill] = field(default_factory=deque)
    ending: list[tuple[int, int]] = field(default_factory=list)
    """Requests in decode: the step after which they end, and their index."""
    context: float = 0.0
    started: dict[int, float] = field(default_factory=dict)
    """When each request was handed in: its arrival, in a closed loop the end of the one before."""
    reserved: float = 0.0
    """KV tokens of admitted requests at half of their growth, which is what they hold on average."""
    chance: random.Random = field(default_factory=lambda: random.Random("drafts"))  # noqa: S311
    gained: dict[int, float] = field(default_factory=dict)
    """Tokens of context that each decode gains until it ends."""

    def held(self, index: int) -> float:
        request = self.requests[index]
        return request.input_tokens + request.output_tokens / 2

    def admit(self) -> None:
        while self.waiting and len(self.prefilling) + len(self.ending) < self.limits.max_num_seqs:
            index = self.waiting[0]
            running = bool(self.prefilling or self.ending)
            if running and self.reserved + self.held(index) > self.limits.kv_tokens:
                return
            self.waiting.popleft()
            self.reserved += self.held(index)
            request = self.requests[index]
            self.prefilling.append(_Prefill(index, request.cached_tokens, request.input_tokens))

    def step(self, outcomes: list[Outcome]) -> None:
        decodes, context = len(self.ending), self.context
        budget = max(self.limits.max_num_batched_tokens - decodes * (1 + self.limits.draft_tokens), 0)
        tokens, pairs, prompts, finished = 0, 0.0, 0, []
        while self.prefilling and budget > 0:
            head = self.prefilling[0]
            take = min(budget, head.total - head.done)
            pairs += take * (2 * head.done + take)
            head.done += take
            tokens, budget, prompts = tokens + take, budget - take, prompts + 1
            if head.done < head.total:
                break
            finished.append(self.prefilling.popleft().index)
        self.steps += 1
        self.clock += self.step_time(Step(decodes, context, tokens, pairs, prompts))
        self.context += decodes * self.limits.tokens_per_step
        while self.ending and self.ending[0][0] <= self.steps:
            self.leave(heapq.heappop(self.ending)[1], outcomes)
        for index in finished:
            self.begin(index, outcomes)

    def begin(self, index: int, outcomes: list[Outcome]) -> None:
        request = self.requests[index]
        outcomes[index].first_token_s = self.clock + self.request_s - self.started[index]
        if request.output_tokens <= 1:
            outcomes[index].end_s = self.clock + self.request_s
            self.reserved -= self.held(index)
            return
        self.context += request.input_tokens + 1
        steps = self.limits.steps_of(request.output_tokens - 1, self.chance)
        self.gained[index] = 1 + steps * self.limits.tokens_per_step
        heapq.heappush(self.ending, (self.steps + steps, index))

    def leave(self, index: int, outcomes: list[Outcome]) -> None:
        request = self.requests[index]
        outcomes[index].end_s = self.clock + self.request_s
        self.context -= request.input_tokens + self.gained.pop(index)
        self.reserved -= self.held(index)


def simulate(
    requests: Sequence[Request],
    limits: Limits,
    step_time: Callable[[Step], float],
    *,
    request_s: float = 0.0,
    concurrency: int | None = None,
) -> list[Outcome]:
    """Run ``requests`` to the end and return an outcome for each.

    With ``concurrency`` the loop is closed: that number is in flight, each followed by the next, arrivals ignored.
    """
    outcomes = [Outcome() for _ in requests]
    engine = _Engine(requests, limits, step_time, request_s)
    coming = deque(range(len(requests)))
    while coming or engine.waiting or engine.prefilling or engine.ending:
        in_flight = len(engine.waiting) + len(engine.prefilling) + len(engine.ending)
        while coming:
            due = in_flight < concurrency if concurrency is not None else requests[coming[0]].arrival_s <= engine.clock
            if not due:
                break
            index = coming.popleft()
            engine.started[index] = engine.clock if concurrency is not None else requests[index].arrival_s
            engine.waiting.append(index)
            in_flight += 1
        engine.admit()
        if not engine.prefilling and not engine.ending:
            engine.clock = max(engine.clock, requests[coming[0]].arrival_s)
            continue
        engine.step(outcomes)
    return outcomes
