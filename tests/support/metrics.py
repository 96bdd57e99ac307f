"""The recorded ``/metrics`` of 0.32 as after other traffic: its own lines, counters and histograms scaled."""

from __future__ import annotations

import re
from pathlib import Path

RECORDED = (Path(__file__).resolve().parent.parent / "data" / "metrics" / "v0.32.0-cpu.txt").read_text()
REQUESTS = 3
"""Requests that the recorded server had answered."""
SUMMED = ("_total", "_count", "_sum", "_bucket")


def metrics(
    requests: int,
    *,
    model: str = "meta-llama/Llama-3.1-8B-Instruct",
    input_tokens: int = 900,
    output_tokens: int = 250,
    prefix_share: float = 0.0,
    waiting: int = 0,
    kv_tokens: int = 34_656,
    started_at_s: float = 0.0,
    slower: float = 1.0,
) -> str:
    """Return ``/metrics`` after ``requests``; ``slower`` multiplies every bound of the latency histograms."""
    values = {
        "vllm:prompt_tokens_total": requests * input_tokens,
        "vllm:prefix_cache_queries_total": requests * input_tokens,
        "vllm:prefix_cache_hits_total": requests * input_tokens * prefix_share,
        "vllm:generation_tokens_total": requests * output_tokens,
        "vllm:num_requests_waiting": waiting,
        "vllm:request_success_created": started_at_s,
    }
    lines = []
    for line in RECORDED.splitlines():
        if not line.startswith("vllm:"):
            lines.append(line)
            continue
        head, _, value = line.replace('"tiny"', f'"{model}"').rpartition(" ")
        name = head.partition("{")[0]
        if name in values:
            value = str(float(values[name]))
        elif name.endswith(SUMMED):
            value = str(float(value) * requests / REQUESTS)
        if "latency" in name or "time_to_first_token" in name:
            head = re.sub(r'le="([\d.]+)"', lambda found: f'le="{float(found[1]) * slower}"', head)
        head = re.sub(r'kv_cache_size_tokens="\d+"', f'kv_cache_size_tokens="{kv_tokens}"', head)
        lines.append(f"{head} {value}")
    return "\n".join(lines) + "\n"
