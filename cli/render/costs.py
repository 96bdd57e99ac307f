"""How costs look in a plan and in a preview: bill, tokens, spot, other terms, hosted APIs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from cli.render.parts.common import BOUNDS, grid, heading, three_usd, usd
from cli.render.parts.markdown import folded, safe
from cli.render.parts.markdown import table as markdown_table

Document = Mapping[str, Any]
BILL_HEADS = ("item", "USD per hour", "rule")
TERM_HEADS = ("the floor under", "USD a month", "saves", "cheaper above", "pays back after", "")
HOST_HEADS = ("host", "USD per 1M in", "USD per 1M out", "USD a month", "break-even requests/s")
MOST_HOSTS = 5


def token_words(costs: Document) -> str:
    """Return the prices per million tokens."""
    tokens = costs["usd_per_million_tokens"]
    return f"${tokens['input']:.2f} per million tokens in, ${tokens['output']:.2f} out, all costs of the stack included"


def bill_line(costs: Document) -> str:
    """Return the bill in one line: three bounds per hour and per month, and the prices per million tokens."""
    burn, tokens = costs["burn"], costs["usd_per_million_tokens"]
    month = " / ".join(f"{burn[bound]['usd_per_month']:,.0f}" for bound in BOUNDS)
    return f"${_sum(burn)} an hour, ${month} a month; 1M tokens ${tokens['input']:.2f} in, ${tokens['output']:.2f} out"


def cluster_line(costs: Document) -> str:
    """Return what the cluster costs, which is not part of the bill."""
    burn = costs["cluster"]["burn"]["expected"]
    return (
        f"{usd(burn['usd_per_hour'], 2)} an hour, {usd(burn['usd_per_month'])} a month beside the bill; "
        "several stacks may share it"
    )


def sentences(costs: Document) -> list[str]:
    """Return sentences about token prices, spot and hosts, as far as they apply."""
    found = [token_words(costs)] if costs.get("usd_per_million_tokens") else []
    found += [costs[key]["says"] for key in ("spot", "hosted") if costs.get(key)]
    return found


def term_rows(terms: Document) -> list[tuple[str, ...]]:
    """Return one row per purchase term, those without a rate last."""
    rows = []
    for term in terms["terms"]:
        hours, months = term["break_even_hours_per_month"], term["break_even_months"]
        rows.append(
            (
                term["title"],
                ("at best " if term["at_best"] else "") + usd(term["usd_per_month"]),
                f"{term['saving_share']:.0%}",
                ("never" if term["saving_share"] <= 0 else f"{hours:.0f} h a month") if hours else "",
                f"{months:.1f} months" if months else "",
                "holds capacity" if term["guarantees_capacity"] else "",
            )
        )
    return rows + [(one["title"], "-", "", "", "", one["reason"]) for one in terms["unpriced"]]


def host_rows(hosted: Document) -> list[tuple[str, ...]]:
    """Return one row per host, cheapest first."""
    return [
        (
            f"{host['host']}, {host['price_of']}",
            f"{host['usd_per_million_input_tokens']:g}",
            f"{host['usd_per_million_output_tokens']:g}",
            usd(host["usd_per_month"]),
            f"{host['break_even_requests_per_s']:.3g}",
        )
        for host in hosted["hosts"][:MOST_HOSTS]
    ]


def bill_rows(document: Document) -> list[tuple[str, ...]]:
    """Return the lines of the bill and of the cluster, each with its sum."""
    rows: list[tuple[str, ...]] = [
        (line["name"], three_usd(line["usd_per_hour"]), line["rule"]) for line in document["bill"]
    ]
    rows.append(("sum", _sum(document["burn"]), _month(document["burn"])))
    cluster = document["cluster"]["burn"]
    rows.append(("cluster beside it", _sum(cluster), f"of default size, may be shared; {_month(cluster)}"))
    return rows


def _sum(burn: Document) -> str:
    return three_usd({bound: burn[bound]["usd_per_hour"] for bound in BOUNDS})


def _month(burn: Document) -> str:
    return " / ".join(usd(burn[bound]["usd_per_month"]) for bound in BOUNDS) + " a month"


def _rows(heads: tuple[str, ...], rows: list[tuple[str, ...]], right: tuple[str, ...] = ()) -> RenderableType:
    made = grid(heads, right=right)
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return made


def terms_text(terms: Document | None) -> list[RenderableType]:
    """Return the table of purchase terms; nothing without a floor."""
    if terms is None:
        return []
    return [heading("What the floor would cost under other terms"), _rows(TERM_HEADS, term_rows(terms))]


def text(document: Document) -> list[RenderableType]:
    """Return the costs of a plan: bill, sentences, terms, hosts."""
    parts: list[RenderableType] = [
        heading("Bill (USD per hour: floor / expected / ceiling)"),
        _rows(BILL_HEADS, bill_rows(document)),
        heading("In short"),
        *(Text(f"- {sentence}") for sentence in sentences(document)),
        *terms_text(document["purchase_terms"]),
    ]
    if document["hosted"]:
        rows = host_rows(document["hosted"])
        parts += [heading("The same traffic at a hosted API"), _rows(HOST_HEADS, rows, HOST_HEADS[1:])]
    return parts


def terms_markdown(terms: Document | None) -> list[str]:
    """Return the purchase terms folded; nothing without a floor."""
    if terms is None:
        return []
    return [folded("What the floor would cost under other terms", markdown_table(TERM_HEADS, term_rows(terms)))]


def markdown(document: Document) -> list[str]:
    """Return the costs of a plan for a comment: sentences first, tables folded."""
    parts = ["\n".join(f"- {safe(sentence)}" for sentence in sentences(document))]
    parts.append(folded("Bill", markdown_table(BILL_HEADS, bill_rows(document))))
    parts += terms_markdown(document["purchase_terms"])
    if document["hosted"]:
        table = markdown_table(HOST_HEADS, host_rows(document["hosted"]))
        parts.append(folded("The same traffic at a hosted API", table))
    return parts
