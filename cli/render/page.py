"""The preview as one HTML page: inline SVG plots, no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from cli.render import before_up
from cli.render.parts.bars import MEMORY_TERMS, SVG_COLOURS, burn_svg, memory_svg
from cli.render.preview import (
    BILL_HEADS,
    POLICY_HEADS,
    POOL_HEADS,
    bill_rows,
    budget_label,
    burn_rows,
    model_facts,
    policy_rows,
    pool_rows,
    reasons,
    resource_counts,
    shared_reasons,
)

Document = Mapping[str, Any]
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem } h3 { margin-bottom: .3rem }
table { border-collapse: collapse; font-size: .9rem } th, td { text-align: left; padding: .15rem .8rem .15rem 0;
vertical-align: top } th { color: #666; font-weight: normal; border-bottom: 1px solid #ccc }
svg { max-width: 47rem; width: 100%; display: block; margin: .4rem 0 } svg text { font: 13px system-ui, sans-serif }
.key span { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 1em } .words { background: #f4f1e8;
padding: .5rem 1rem } details { margin: .4rem 0 } summary { cursor: pointer; color: #444 }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def html(document: Document) -> str:
    """Return the page; every text of the document is escaped."""
    title = f"{document['stack']}: preview"
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(document['summary'])}</p>",
        _difference(document),
        "<h2>Burn per month</h2>",
        burn_svg(burn_rows(document), (document["budget"] or {}).get("monthly_usd"), budget_label(document)),
        *_models(document),
        "<h2>Node pools</h2>" + table(POOL_HEADS, pool_rows(document)) if document["pools"] else "",
        "".join(f"<p>{escape(one['says'])}</p>" for one in document["shared"]),
        "".join(
            folded(f"Why: {title}", table(("figure", "value and rule"), rows))
            for title, rows in shared_reasons(document)
        ),
        "<h2>Bill</h2>" + table(BILL_HEADS, bill_rows(document)),
        "<h2>Policies</h2>" + table(POLICY_HEADS, policy_rows(document)),
        "".join(f"<p>Warning: {escape(warning)}</p>" for warning in document["warnings"]),
        folded("Resources", table(("count", "type"), [(count, kind) for kind, count in resource_counts(document)])),
        f"<h2>{escape(before_up.title(document))}</h2>" + table(before_up.HEADS, before_up.rows(document)),
        f"<p>Prices of {escape(document['prices_of'])}, {escape(document['region'])}.</p>",
    ]
    return whole(title, "".join(body))


def whole(title: str, body: str, style: str = "") -> str:
    """Return a page that loads nothing; ``title`` is escaped, ``body`` and ``style`` are not."""
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style>"
    )
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def _difference(document: Document) -> str:
    if not document["difference"]:
        return ""
    sentences = "".join(f"<li>{escape(sentence)}</li>" for sentence in document["difference"]["words"])
    return f'<div class="words"><h2>What changes</h2><ul>{sentences}</ul></div>'


def _models(document: Document) -> list[str]:
    if not document["models"]:
        return []
    key = "".join(
        f'<span style="background:{SVG_COLOURS[colour]}"></span>{escape(label)}' for _, label, colour in MEMORY_TERMS
    )
    parts = ["<h2>Models</h2>", f'<p class="key">Memory of one GPU:{key}</p>']
    for model in document["models"]:
        parts.append(f"<h3>{escape(model['name'])}: {escape(model['model'])}</h3>")
        parts.append(memory_svg(model["name"], model["per_gpu"]))
        parts.append(table(("", ""), model_facts(model)))
        parts.append(folded("Why", table(("figure", "value and rule"), reasons(model))))
    return parts


def folded(title: str, body: str) -> str:
    """Return ``body`` folded under ``title``, which is escaped."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; every cell is escaped."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    lines = ("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"
