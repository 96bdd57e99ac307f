"""Replay of vLLM's scheduler where more requests are in flight than the cache holds: what is prefilled twice.

    python -m benchmarks.throughput.preemption

Rules of the V1 scheduler (vllm/v1/core/sched/scheduler.py): a running request that needs a block takes it from the
newest one, which gives up all of its cache and waits in front; a waiting request is admitted as soon as its own tokens
fit. So what others will still write takes the place of the newest again and again. Freed blocks keep their content
until they are taken, the longest freed first, and with prefix caching a request that comes back finds what is left.
No times: one step is one step. ``sizing.performance.replica.RECOMPUTED`` is taken from the table that this prints.
"""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

BLOCK_TOKENS, BUDGET_TOKENS, MAX_NUM_SEQS = 16, 2048, 256


@dataclass(eq=False)
class _Call:
    name: int
    prompt: int
    answer: int
    written: int = 0
    computed: int = 0
    blocks: list[int] = field(default_factory=list)

    @property
    def missing(self) -> int:
        """Tokens whose cache is to be computed: one in decode, all that it has when it was preempted."""
        return self.prompt + self.written - self.computed


class _Cache:
    def __init__(self, tokens: int, *, keeps: bool) -> None:
        self.free: OrderedDict[int, tuple[int, int] | None] = OrderedDict(
            (n, None) for n in range(tokens // BLOCK_TOKENS)
        )
        self.kept: dict[tuple[int, int], int] = {}
        self.keeps = keeps

    def lacks(self, call: _Call, tokens: int) -> int:
        """Blocks that the call needs beyond its own to have ``tokens`` more computed."""
        return -(-(call.computed + tokens) // BLOCK_TOKENS) - len(call.blocks)

    def take(self, call: _Call, blocks: int) -> None:
        for _ in range(blocks):
            block, content = self.free.popitem(last=False)
            if content:
                del self.kept[content]
            call.blocks.append(block)

    def give(self, call: _Call) -> None:
        for place in reversed(range(len(call.blocks))):
            full = self.keeps and place < call.computed // BLOCK_TOKENS
            content = (call.name, place) if full else None
            self.free[call.blocks[place]] = content
            if content:
                self.kept[content] = call.blocks[place]
        call.blocks, call.computed = [], 0

    def admit(self, call: _Call, budget: int) -> int:
        """Return the tokens that are computed at once, after those found again; 0 where they do not fit."""
        found, most = 0, (call.prompt + call.written - 1) // BLOCK_TOKENS
        while found < most and (call.name, found) in self.kept:
            found += 1
        tokens = min(call.missing - found * BLOCK_TOKENS, budget)
        needed = -(-(found * BLOCK_TOKENS + tokens) // BLOCK_TOKENS)
        if needed > len(self.free):
            return 0
        for place in range(found):
            block = self.kept.pop((call.name, place))
            del self.free[block]
            call.blocks.append(block)
        call.computed = found * BLOCK_TOKENS
        self.take(call, needed - found)
        return tokens


def recomputed(
    prompt: int, answer: int, *, cache_tokens: int, concurrency: int, requests: int, keeps: bool, varied: bool = False
) -> float:
    """Return tokens prefilled beyond the prompt, for each token of the answers, of a closed loop to its end.

    ``keeps``: with prefix caching. ``varied``: exponential answers of that mean instead of all the same.
    """
    cache = _Cache(cache_tokens, keeps=keeps)
    coming = _calls(prompt, answer, requests, varied=varied)
    waiting, running = deque(islice(coming, concurrency)), list[_Call]()
    prefilled = ended = written = 0
    while ended < requests:
        for call, tokens in _step(cache, waiting, running):
            prefilled += tokens if tokens > 1 else 0
            call.computed += tokens
            if not call.missing:
                call.written += 1
                written += 1
        for call in [call for call in running if call.written >= call.answer]:
            running.remove(call)
            cache.give(call)
            ended += 1
            waiting.extend([following] if (following := next(coming, None)) else [])
    return (prefilled - prompt * requests) / written


def _calls(prompt: int, answer: int, requests: int, *, varied: bool) -> Iterator[_Call]:
    chance = random.Random("preemption")  # noqa: S311
    for name in range(requests):
        yield _Call(name, prompt, max(round(chance.expovariate(1 / answer)), 1) if varied else answer)


def _step(cache: _Cache, waiting: deque[_Call], running: list[_Call]) -> list[tuple[_Call, int]]:
    """Schedule one step; return what each call computes in it."""
    budget, scheduled, preempted = BUDGET_TOKENS, list[tuple[_Call, int]](), False
    place = 0
    while place < len(running) and budget:
        call = running[place]
        tokens = min(call.missing, budget)
        while call.blocks and cache.lacks(call, tokens) > len(cache.free):
            newest, preempted = running.pop(), True
            if scheduled and scheduled[-1][0] is newest:
                budget += scheduled.pop()[1]
            cache.give(newest)
            waiting.appendleft(newest)
        if not call.blocks:
            break
        cache.take(call, max(cache.lacks(call, tokens), 0))
        scheduled.append((call, tokens))
        budget, place = budget - tokens, place + 1
    while not preempted and waiting and budget and len(running) < MAX_NUM_SEQS:
        tokens = cache.admit(waiting[0], budget)
        if not tokens:
            break
        running.append(waiting.popleft())
        scheduled.append((running[-1], tokens))
        budget -= tokens
    return scheduled


CASES = (
    (1000, 1000, 94_000, 100, 100, False), (1000, 1000, 94_000, 200, 400, False), (1000, 1000, 94_000, 200, 400, True),
    (200, 1000, 50_000, 200, 400, False), (200, 1000, 50_000, 200, 400, True), (217, 200, 20_000, 200, 400, True),
)  # fmt: skip


def main() -> None:
    """Print tokens that are prefilled again for each output token."""
    print("prompt answer  cache in flight requests lengths  with prefix caching  without")
    for prompt, answer, cache, flight, requests, varied in CASES:
        shares = [
            recomputed(
                prompt, answer, cache_tokens=cache, concurrency=flight, requests=requests, keeps=keeps, varied=varied
            )
            for keeps in (True, False)
        ]
        lengths = "varied" if varied else "alike"
        print(f"{prompt:6} {answer:6} {cache:6} {flight:9} {requests:8} {lengths:7} {shares[0]:20.2f} {shares[1]:8.2f}")


if __name__ == "__main__":
    main()
