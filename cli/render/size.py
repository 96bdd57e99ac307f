"""How ``tonnage size`` looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.render.parts.bars import MEMORY_TERMS, memory_bar, memory_legend
from cli.render.parts.markdown import bullets, folded, table

Document = Mapping[str, Any]
ENGINE_KEYS = (
    "vllm_version", "tensor_parallel", "pipeline_parallel", "max_model_len", "max_num_seqs", "max_num_batched_tokens",
    "gpu_memory_utilization", "kv_cache_dtype", "dtype", "enforce_eager",
)  # fmt: skip


def verdict(document: Document) -> str:
    """Return the answer as one sentence."""
    inputs = document["inputs"]
    gpus = inputs["tensor_parallel"]["value"] * inputs["pipeline_parallel"]["value"]
    where = f"{document['model']} {{}} on {gpus} x {document['gpu']}"
    if not document["fits"]:
        return where.format("does not fit")
    kv = document["kv"]
    return where.format("fits") + (
        f": KV cache for {kv['tokens']:,} tokens, {kv['max_concurrency']:.1f} requests of "
        f"{inputs['max_model_len']['value']:,} tokens at once"
    )


def text(document: Document) -> RenderableType:
    """Return the verdict, the GPU memory as a bar, its terms, the binding limit and the hints."""
    per_gpu, (low, high) = document["per_gpu"], document["interval"]["kv_cache_gib"]
    kv_range = f"KV cache {low:.2f} to {high:.2f} GiB (p10 to p90)"
    parts: list[RenderableType] = [
        Text(verdict(document), style="bold green" if document["fits"] else "bold red"),
        Text(),
        memory_bar(per_gpu, width=100),
        memory_legend(per_gpu),
        Text(),
        _terms(document),
        Text(),
        Text(f"vLLM asks for {per_gpu['requested_gib']:.2f} GiB of it; {kv_range}; binding: {document['binding']}"),
    ]
    parts += [Text(f"note: {note}", style="yellow") for note in document.get("notes", ())]
    parts += [Text(f"hint: {hint}") for hint in document["hints"]]
    return Group(*parts, Text(), _engine(document))


def _rules(document: Document) -> dict[str, str]:
    return {figure["name"]: figure["rule"] for figure in document.get("figures", ())}


def _terms(document: Document) -> Table:
    grid = Table(box=None, pad_edge=False, header_style="dim")
    grid.add_column("per GPU")
    grid.add_column("GiB", justify="right")
    grid.add_column("because", overflow="fold")
    rules = _rules(document)
    for key, label, colour in MEMORY_TERMS:
        grid.add_row(
            Text(label, style=colour), f"{document['per_gpu'][key]:.3f}", Text(rules.get(key, ""), style="dim")
        )
    return grid


def _engine(document: Document) -> Table:
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for head in ("engine setting", "value", "from"):
        grid.add_column(head)
    for key in ENGINE_KEYS:
        found = document["inputs"].get(key)
        if found is not None:
            grid.add_row(key, Text(str(found["value"])), Text(str(found["source"]), style="dim"))
    return grid


def markdown(document: Document) -> str:
    """Return the same for a comment: the verdict, the terms, the rest folded."""
    terms = [(label, f"{document['per_gpu'][key]:.3f}") for key, label, _ in MEMORY_TERMS]
    inputs = [(key, found["value"], found["source"]) for key, found in document["inputs"].items()]
    parts = [
        f"**{verdict(document)}**",
        table(("per GPU", "GiB"), [*terms, ("card", f"{document['per_gpu']['total_gib']:.3f}")]),
        f"Binding: {document['binding']}",
        bullets((*document.get("notes", ()), *document["hints"])),
        folded("Inputs", table(("input", "value", "from"), inputs)),
    ]
    return "\n\n".join(part for part in parts if part)
