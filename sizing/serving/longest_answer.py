"""How long an answer may last at the most traffic of a replica (how long one drains: ``sizing.serving.lifecycle``).

    total = queue + first token + output tokens x time per token

The longest answer is the stated one, else all that the engine's context allows. Seconds, tokens.
"""

from __future__ import annotations

import math

from sizing.catalogue.files import serving_source
from sizing.errors import BadInput
from sizing.inputs import ModelEntry
from sizing.models.spec import ModelSpec
from sizing.plan import Figure
from sizing.plan.operation import Drain, LongestAnswer
from sizing.serving.lifecycle import drained_s


def longest_tokens(entry: ModelEntry, model: ModelSpec, context: int) -> int:
    """Return the most tokens of one answer: stated, or a whole ``context``; a vector or score is one token."""
    return (entry.longest_output_tokens or context) if model.generates else 1


def longest_answer(
    entry: ModelEntry, tokens: int, *, queue_s: float, first_token_s: float, token_ms: float
) -> LongestAnswer:
    """Return how long an answer of ``tokens`` may last: its wait, its first token, and each of its tokens."""
    return LongestAnswer(
        output_tokens=tokens,
        stated=entry.longest_output_tokens is not None,
        queue_s=queue_s,
        first_token_s=first_token_s,
        token_ms=token_ms,
        total_s=math.ceil(queue_s + first_token_s + tokens * token_ms / 1e3),
    )


def check_longest_answer(entry: ModelEntry, model: ModelSpec, longest: int) -> None:
    """Raise BadInput for a stated longest answer that a request of ``longest`` tokens cannot hold beside its prompt."""
    stated, where = entry.longest_output_tokens, f"models.{entry.name}.longestOutputTokens"
    if stated is None:
        return
    if not model.generates and stated > 1:
        problem = f"{stated} tokens, but {model.name} answers with a vector or a score"
        raise BadInput(where, problem, limit="1", way_out="leave it out")
    if stated >= longest:
        raise BadInput(
            where,
            f"{stated} tokens leave no room for a prompt",
            limit=f"{longest} tokens of prompt and answer together for {model.name}",
            way_out="lower it, raise engine.maxModelLen or leave it out",
        )


def longest_answer_figures(found: LongestAnswer, leave: Drain, share: float) -> tuple[Figure, ...]:
    """Return why the two times are what they are, and what a leaving replica cuts."""
    source = "sizing/serving/longest_answer.py, sizing/performance/longest_request.py"
    return (
        Figure(
            name="longest_answer_s",
            value=found.total_s,
            unit="s",
            rule="queue + first token of the longest prompt + "
            + ("longestOutputTokens" if found.stated else "all tokens that maxModelLen allows")
            + " x time per token at the most traffic of a replica, with the cache of this answer read in each step;"
            " the limits of the gateway follow from it",
            inputs={
                "output_tokens": found.output_tokens,
                "token_ms": round(found.token_ms, 2),
                "queue_s": round(found.queue_s, 1),
                "first_token_s": round(found.first_token_s, 1),
            },
            source=source,
        ),
        Figure(
            name="drain_s",
            value=drained_s(leave),
            unit="s",
            rule="preStop + shutdown timeout: the longest answer, within the notice of spot nodes or what an update of"
            " a node group waits; no limit of the gateway follows from it",
            inputs={"longest_answer_s": found.total_s, "grace_period_s": leave.grace_period_s},
            source=serving_source("drain"),
        ),
        Figure(
            name="interrupted_share",
            value=round(share, 6),
            unit="of the answers in flight",
            rule="E[max(answer - tokens drained, 0)] / E[answer]: those with more before them than the drain gives",
            inputs={"drain_s": drained_s(leave)},
            source="sizing/workload/lengths.py",
        ),
    )
