"""Writes ``docs/concepts/decisions.md``: every field of the plan, which file makes it, by which rule, who copies it.

Told by the code (``tools.generators.plan_reads``) and by the explanation of the shipped stacks; nothing is typed by
hand. ``python -m tools.generators.decisions``; with ``--check`` it only compares and leaves with 1 when the page is
stale or a field has no maker or nobody reads it; with ``--print`` it prints the table with the values of the dev stack.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from typing import Any

from infra.config import settings_from_file
from infra.program import plan_for
from infra.settings.serving import ServingSettings
from sizing.plan import StackPlan
from tools.generators.plan_reads import ROOT, Code, Field, Maker

PAGE = ROOT / "docs" / "concepts" / "decisions.md"
STACKS = ("dev", "prod")
"""Shipped stacks whose explanation gives the rules; the first that has a figure tells it."""
VALUES = ("Bounds", "Figure", "Interval")
"""Classes that are values: a figure with its spread or its bounds, and the explanation itself."""
COPIES = ("components/", "infra/layers/", "policies/", "rehearsal/", "sizing/serving/launch.py")
SHOWN = ("cli/", "infra/", "sizing/documents.py", "sizing/observe/advice_document.py")
EXPLAINS = ("_figures.py", "/explanation.py", "/document.py")
UNREAD = {("InstanceOffer", "memory_gib"): "a fact of the instance type, for who reads a plan as Python"}
"""Fields that nobody reads, with the reason why they stay."""
MOST = 90
MOST_RULES = 4
SHOWN_ONLY = "shown only"
INTRODUCTION = """# Decisions

Written by `make docs` from the code; do not edit. The plan is the contract between `sizing/`, which decides, and the
documents, which copy ([ADR 2](../adr/0002-one-estimate.md), [ADR 14](../adr/0014-decisions-are-plan-fields.md)). Each
table is one class of the plan: who makes a field, by which rule, and who copies or checks it. *Shown only* is what no
document needs: it is in the preview for who reads it, or an input of other rules, which are named. A rule between
backticks is the expression that is assigned. `make decisions` prints the same with the values of the dev stack; how
they come about for one stack, with inputs and sources, says `tonnage preview STACK --format markdown`.
"""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One field of the plan."""

    owner: str
    name: str
    rule: str
    makers: tuple[Maker, ...]
    copied_by: tuple[str, ...]
    rules: tuple[str, ...]
    """Files of ``sizing`` whose rules read it."""
    shown_by: tuple[str, ...]

    @property
    def consumers(self) -> str:
        """Return who copies it, or what it is for otherwise."""
        if self.copied_by:
            return ", ".join(f"`{file}`" for file in self.copied_by)
        if self.rules:
            named = ", ".join(f"`{file}`" for file in self.rules[:MOST_RULES])
            more = len(self.rules) - MOST_RULES
            return f"{SHOWN_ONLY}; input of {named}" + (f" and {more} more" if more > 0 else "")
        reason = UNREAD.get((self.owner, self.name))
        return SHOWN_ONLY if self.shown_by else f"nobody ({reason})" if reason else "nobody"


@lru_cache(maxsize=1)
def code() -> Code:
    """Return the code of this repository."""
    return Code()


@lru_cache(maxsize=1)
def plans() -> tuple[StackPlan, ...]:
    """Return the plans of the shipped stacks."""
    found = []
    for stack in STACKS:
        settings = settings_from_file(ROOT / "stacks" / f"Pulumi.{stack}.yaml")
        if isinstance(settings, ServingSettings):
            found.append(plan_for(settings, stack))
    return tuple(found)


def parts(value: Any) -> Iterator[Any]:
    """Yield a part of a plan and everything in it that has fields, outermost first."""
    if isinstance(value, tuple):
        for one in value:
            yield from parts(one)
    elif is_dataclass(value):
        yield value
        for one in fields(value):
            yield from parts(getattr(value, one.name))


@lru_cache(maxsize=1)
def rules() -> Mapping[tuple[str, str], str]:
    """Return the rule of each figure by the class that carries it and its name, without the model that it is of."""
    told: dict[tuple[str, str], str] = {}
    for plan in plans():
        for part in parts(plan):
            for figure in getattr(part, "figures", ()):
                told.setdefault((type(part).__name__, figure.name.partition(" of ")[0]), figure.rule)
    return told


def _figure_rule(owner: str, name: str) -> str:
    """Return the rule of a field's figure; that of a part stands under its own name or with the part's before it."""
    contract = code().contract
    if "figures" in contract[owner].fields:
        return rules().get((owner, name), "")
    long = f"{owner.lower().removesuffix('plan')}_{name}"
    for whole in (one for one in contract.values() if "figures" in one.fields):
        inside = set(code().nested(whole.name))
        if owner in {part for part, _ in inside}:
            alone = [part for part, field in inside if field == name] == [owner]
            short = rules().get((whole.name, name), "") if alone else ""
            if found := rules().get((whole.name, long), short):
                return found
    return ""


def _rule(owner: str, one: Field, makers: list[Maker]) -> str:
    """Return the rule: that of its figure, else its docstring, else that of its maker, else the expression."""
    if told := _figure_rule(owner, one.name):
        return told
    said = [maker.says for maker in makers if maker.says]
    shown = [maker.expression for maker in makers if maker.expression]
    if one.says or said:
        return one.says or said[0]
    return f"`{shown[0] if len(shown[0]) <= MOST else shown[0][:MOST] + ' ...'}`" if shown else ""


def _kind(file: str) -> str:
    if file.startswith(COPIES):
        return "copies"
    if file.startswith(SHOWN) or file.endswith(EXPLAINS):
        return "shows"
    return "rules" if file not in {"sizing/plan/__init__.py", "sizing/plan/operation.py"} else "own"


def decisions() -> list[Decision]:
    """Return every field of the plan, class by class in the order of the contract, the plan of a stack first."""
    found, known = [], code()
    names = [name for name in known.contract if name not in VALUES]
    for owner in sorted(names, key=lambda name: (name != "StackPlan", name != "ServingPlan")):
        for one in known.contract[owner].fields.values():
            makers = known.makers(owner, one.name)
            kinds: dict[str, list[str]] = {"copies": [], "shows": [], "rules": [], "own": []}
            for file in known.readers(owner, one.name):
                kinds[_kind(file)].append(file)
            found.append(
                Decision(
                    owner=owner,
                    name=one.name,
                    rule=_rule(owner, one, makers),
                    makers=tuple(makers),
                    copied_by=tuple(kinds["copies"]),
                    rules=tuple(kinds["rules"]),
                    shown_by=tuple(kinds["shows"] or kinds["own"]),
                )
            )
    return found


def problems(found: list[Decision]) -> list[str]:
    """Return a line for each field that nobody makes or nobody reads."""
    lines = [f"{one.owner}.{one.name}: no file of sizing/ gives it a value" for one in found if not one.makers]
    return [*lines, *(f"{one.owner}.{one.name}: nobody reads it" for one in found if one.consumers == "nobody")]


def page() -> str:
    """Return the page."""
    sections: dict[str, list[str]] = {}
    for one in decisions():
        made = ", ".join(f"`{maker.place}`" for maker in one.makers)
        sections.setdefault(one.owner, []).append(f"| `{one.name}` | {made} | {_cell(one.rule)} | {one.consumers} |")
    lines = [INTRODUCTION]
    for owner, rows in sections.items():
        lines += [f"## {owner}", "", code().contract[owner].says, ""]
        lines += ["| decision | made in | rule | copied or checked by |", "| --- | --- | --- | --- |", *rows, ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("``", "`")


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if is_dataclass(value) or (isinstance(value, tuple) and value and is_dataclass(value[0])):
        return "..."
    text = ", ".join(map(_shown, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= MOST else f"{text[:MOST]} ..."


def table() -> str:
    """Return the table for a terminal: one block a decision, with its value in the first shipped stack."""
    first: dict[str, Any] = {}
    for plan in plans():
        for part in parts(plan):
            first.setdefault(type(part).__name__, part)
    lines = []
    for one in decisions():
        value = _shown(getattr(first[one.owner], one.name)) if one.owner in first else ""
        lines += [
            f"{one.owner}.{one.name} = {value}",
            f"    made in    {', '.join(maker.place for maker in one.makers)}",
            f"    rule       {one.rule}",
            f"    copied by  {one.consumers.replace('`', '')}",
        ]
    return "\n".join(lines)


def main() -> int:
    """Write the page, print the table with ``--print``, or compare with ``--check``."""
    if "--print" in sys.argv[1:]:
        try:
            print(table(), flush=True)
        except BrokenPipeError:  # who reads the first lines only, by head or less
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    text, wrong = page(), problems(decisions())
    for line in wrong:
        print(line, file=sys.stderr)
    if "--check" in sys.argv[1:]:
        return int(bool(wrong) or not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
