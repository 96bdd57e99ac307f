"""How ``tonnage preview`` looks: as text and as a comment on a pull request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cli.render import before_up, costs, upgrades
from cli.render.parts.bars import against_limit, memory_bar, memory_legend
from cli.render.parts.common import BOUNDS, grid, heading, machine, spread, three, three_usd, usd, zones
from cli.render.parts.markdown import bullets, folded, safe
from cli.render.parts.markdown import table as markdown_table

Document = Mapping[str, Any]
POOL_HEADS = ("pool", "buys", "as", "zones", "nodes", "GPUs", "USD per hour")
BILL_HEADS = ("item", "USD per hour", "rule")
POLICY_HEADS = ("", "rule", "says")
BRIEF = ("runs on", "replicas", "latency", "costs")
"""Facts of a model where plan and bill have one screen."""


def text(document: Document) -> RenderableType:
    """Return the whole preview, what changed first."""
    parts = _title(document)
    if document["difference"]:
        parts += [heading("What changes"), *_difference(document["difference"])]
    models: list[RenderableType] = [_model(model) for model in document["models"]]
    if models:
        models.append(
            Text("every figure with its rule and inputs: --format markdown, --format json or --html FILE", "dim")
        )
    parts += _plan(document, models)
    parts += costs.terms_text(document.get("purchase_terms"))
    parts += upgrades.text(document)
    parts += [heading(_resource_title(document)), _resources(document)]
    parts += [heading("Policies"), _policies(document)]
    if document["warnings"]:
        parts.append(heading("Warnings"))
        parts += [Text(f"- {warning}", style="yellow") for warning in document["warnings"]]
    return Group(*parts, *before_up.text(document))


def plan_and_bill(document: Document) -> RenderableType:
    """Return one screen: the instance types, the pools and the bill."""
    return Group(*_title(document), *_plan(document, [_model(model, brief=True) for model in document["models"]]))


def _title(document: Document) -> list[RenderableType]:
    return [
        Text(f"{document['stack']}  {document['region']}, prices of {document['prices_of']}", style="bold"),
        Text(document["summary"]),
    ]


def _plan(document: Document, models: list[RenderableType]) -> list[RenderableType]:
    """Return models, pools and the bill."""
    parts: list[RenderableType] = []
    if models:
        parts += [heading("Models (replicas and nodes: floor / expected / ceiling)"), *models]
    if document["pools"]:
        parts += [heading("Node pools"), _table(POOL_HEADS, pool_rows(document), flexible="buys")]
        parts += [Text(one["says"]) for one in document["shared"]]
    return [
        *parts,
        heading("Burn per month"),
        _burn(document),
        heading("Bill"),
        _table(BILL_HEADS, bill_rows(document), flexible="rule"),
    ]


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]], *, flexible: str) -> Table:
    """Return a table in which only the column ``flexible`` gives way; a rule is cut, anything else is wrapped."""
    table = grid(heads, right=("nodes", "GPUs"))
    for column in table.columns:
        column.no_wrap = column.header != flexible
    for row in rows:
        cut = [head == "rule" for head in heads]
        table.add_row(
            *(
                Text(cell, no_wrap=one or None, overflow="ellipsis" if one else None)
                for cell, one in zip(row, cut, strict=True)
            )
        )
    return table


def _difference(difference: Document) -> list[RenderableType]:
    return [Text(f"- {sentence}") for sentence in difference["words"]]


def _model(model: Document, *, brief: bool = False) -> RenderableType:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column(overflow="fold")
    for label, value in model_facts(model):
        if label in BRIEF or not brief:
            facts.add_row(label, Text(value))
    if not brief:
        facts.add_row("one GPU", memory_bar(model["per_gpu"]))
        facts.add_row("", memory_legend(model["per_gpu"]))
    title = Text(model["name"], style="bold cyan").append(f"  {model['model']}", style="default")
    return Group(title, Padding(facts, (0, 0, 0 if brief else 1, 2)))


def model_facts(model: Document) -> list[tuple[str, str]]:
    """Return the main facts of one model."""
    zero = ", scales to zero" if model["scale_to_zero"] else ""
    per_million = f"${model['usd_per_million_output_tokens']:.2f} per million output tokens"
    budgets = f"probe budget {model['startup_budget_s']} s"
    why = [("because", model["why"])] if model["why"] else []
    return [
        ("runs on", machine(model)),
        *why,
        ("replicas", three(model["replicas"]) + zero),
        ("latency", f"TTFT {spread(model['ttft_ms'])} ms, TPOT {spread(model['tpot_ms'], 1)} ms (p10 to p90)"),
        ("holds", f"{model['kv']['tokens']:,} tokens of KV cache, binding: {model['binding']}"),
        ("costs", f"${three_usd(model['usd_per_hour'])} an hour, {per_million}"),
        *(("", words) for words in costs.sentences(model)),
        ("starts in", f"{model['start_up_s']:.0f} s from nothing; {budgets}"),
        ("answers in", longest_answer(model["longest_answer"])),
        ("drains in", drain(model["drain"])),
    ]


def longest_answer(longest: Document) -> str:
    """Return how long an answer may last, in words."""
    tokens = f"{longest['output_tokens']:,} tokens {'stated' if longest['stated'] else 'that the context allows'}"
    return f"at most {longest['total_s']:,} s ({tokens}); the gateway ends it after {longest['request_timeout_s']:,} s"


def drain(leave: Document) -> str:
    """Return how long a leaving replica waits for its answers, in words."""
    return f"{leave['drain_s']} s; cuts {leave['interrupted_share']:.2%} of the answers in flight"


def reasons(model: Document) -> list[tuple[str, str]]:
    """Return the figures of the plan with their rules."""
    return [
        (figure["name"].replace("_", " "), f"{figure['value']} {figure['unit']}: {figure['rule']}".replace(" : ", ": "))
        for figure in model["figures"]
    ]


def shared_reasons(document: Document) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return (title, figures with their rules) of what is no single model's: pools, gateway, vector store, budget."""
    parts = [(pool["name"], pool) for pool in document["pools"]]
    parts += [
        ("gateway and quota", document),
        ("vector store", document["vector_store"]),
        ("budget", document["budget"]),
    ]
    return [(title, reasons(part)) for title, part in parts if part and part["figures"]]


def pool_rows(document: Document) -> list[tuple[str, ...]]:
    """Return one row per node pool."""
    return [
        (
            pool["name"],
            ", ".join(pool["instance_types"]),
            f"{pool['capacity_type']}, {pool['kind']}",
            zones(pool["zones"]),
            three(pool["instances"]),
            str(pool["gpu_limit"]),
            three_usd(pool["usd_per_hour"]),
        )
        for pool in document["pools"]
    ]


def bill_rows(document: Document) -> list[tuple[str, ...]]:
    """Return one row per line of the bill."""
    return [(line["name"], three_usd(line["usd_per_hour"]), line["rule"]) for line in document["bill"]]


def burn_rows(document: Document) -> list[tuple[str, float, str]]:
    """Return (bound, USD per month, label) for the bars."""
    rows = []
    for bound in BOUNDS:
        month, hour = document["burn"][bound]["usd_per_month"], document["burn"][bound]["usd_per_hour"]
        rows.append((bound, month, f"{usd(month)} a month, {usd(hour, 2)} an hour"))
    return rows


def budget_label(document: Document) -> str:
    """Return the budget in words."""
    budget = document["budget"]
    if budget is None:
        return "no budget of its own"
    verb = "denies new GPU instances" if budget["on_exceed"] == "freeze" else "notifies"
    return f"budget {usd(budget['monthly_usd'])}; {budget['ceiling_share']:.0%} of it at the ceiling; beyond, it {verb}"


def _burn(document: Document) -> RenderableType:
    limit = document["budget"]["monthly_usd"] if document["budget"] else None
    return against_limit(burn_rows(document), limit, budget_label(document))


def resource_counts(document: Document) -> list[tuple[str, int]]:
    """Return how many resources there are of each type, components left out, sorted by type."""
    counts = Counter(one["type"] for one in document["resources"] if not one["component"])
    return sorted(counts.items())


def _resource_title(document: Document) -> str:
    components = sum(one["component"] for one in document["resources"])
    return f"Resources: {len(document['resources']) - components} in {components} components"


def _resources(document: Document) -> RenderableType:
    cells = [Text(f"{count:3} {short_type(kind)}") for kind, count in resource_counts(document)]
    return Columns(cells, column_first=True, padding=(0, 3))


def short_type(token: str) -> str:
    """Return a type token as one reads it: ``aws eks NodeGroup``, ``Deployment`` of Kubernetes."""
    package, module, kind = token.split(":", 2)
    return kind if package == "kubernetes" else f"{package} {module.split('/')[0]} {kind}"


def policy_rows(document: Document) -> list[tuple[str, str, str]]:
    """Return (mark, rule, verdict) for each rule; a rule that could not run has not passed."""
    rows = []
    for verdict in document["policies"]:
        if verdict["passed"]:
            rows.append(("✓", verdict["rule"], verdict["description"]))
        elif verdict["could_not_run"]:
            rows.append(("?", verdict["rule"], f"could not run: {verdict['could_not_run']}"))
        rows += [("✗", verdict["rule"], violation["message"]) for violation in verdict["violations"]]
    return rows


def _policies(document: Document) -> Table:
    table = grid(POLICY_HEADS)
    for mark, rule, said in policy_rows(document):
        table.add_row(Text(mark, style="green" if mark == "✓" else "bold red"), Text(rule), Text(said))
    return table


def markdown(document: Document) -> str:
    """Return a comment for a pull request: what changes, the summary, verdicts; details folded."""
    parts = [f"### {safe(document['stack'])}"]
    if document["difference"]:
        parts.append(bullets(document["difference"]["words"]))
    parts += [safe(document["summary"]), _markdown_burn(document)]
    if document["models"]:
        parts.append(_markdown_models(document))
        parts.append(bullets(f"{one['name']}: {said}" for one in document["models"] for said in costs.sentences(one)))
    parts.append(markdown_table(POLICY_HEADS, policy_rows(document)))
    if document["shared"]:
        parts.append(bullets(one["says"] for one in document["shared"]))
    if document["warnings"]:
        parts.append(bullets(document["warnings"]))
    last = [f"**{before_up.title(document)}**", markdown_table(before_up.HEADS, before_up.rows(document))]
    return "\n\n".join([*parts, *_markdown_details(document), *last])


def _markdown_burn(document: Document) -> str:
    burn = document["burn"]
    rows = [(bound, usd(burn[bound]["usd_per_month"]), usd(burn[bound]["usd_per_hour"], 2)) for bound in BOUNDS]
    return markdown_table(("burn", "USD a month", "USD an hour"), rows) + f"\n\n{safe(budget_label(document))}"


def _markdown_models(document: Document) -> str:
    heads = ("model", "runs on", "replicas", "TTFT ms", "TPOT ms", "USD per hour")
    rows = [
        (
            model["name"],
            machine(model),
            three(model["replicas"]),
            spread(model["ttft_ms"]),
            spread(model["tpot_ms"], 1),
            three_usd(model["usd_per_hour"]),
        )
        for model in document["models"]
    ]
    return markdown_table(heads, rows)


def _markdown_details(document: Document) -> list[str]:
    parts = []
    if document["difference"] and document["difference"]["changed"]:
        parts.append(folded("Resources that change", _markdown_changes(document["difference"])))
    heads = ("figure", "value and rule")
    parts += [folded(f"Why: {one['name']}", markdown_table(heads, reasons(one))) for one in document["models"]]
    parts += [folded(f"Why: {title}", markdown_table(heads, rows)) for title, rows in shared_reasons(document)]
    if document["pools"]:
        parts.append(folded("Node pools", markdown_table(POOL_HEADS, pool_rows(document))))
    parts.append(folded("Bill", markdown_table(BILL_HEADS, bill_rows(document))))
    parts += costs.terms_markdown(document.get("purchase_terms"))
    parts += upgrades.markdown(document)
    counts = [(count, kind) for kind, count in resource_counts(document)]
    return [*parts, folded(_resource_title(document), markdown_table(("count", "type"), counts))]


def _markdown_changes(difference: Document) -> str:
    rows = [
        (verb, one["type"], one["name"])
        for verb in ("added", "changed", "removed")
        for one in difference["resources"][verb]
    ]
    return markdown_table(("", "type", "name"), rows)
