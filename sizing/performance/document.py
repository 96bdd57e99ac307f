"""The answer of ``tonnage throughput`` as JSON: keys other programs parse."""

from __future__ import annotations

from sizing.documents import Document, figure_documents, interval_document
from sizing.plan import EngineSettings, ThroughputEstimate

THROUGHPUT_SCHEMA = 1


def throughput_document(
    estimate: ThroughputEstimate, *, model: str, gpu: str, engine: EngineSettings, input_tokens: int, output_tokens: int
) -> Document:
    """Return the document of ``tonnage throughput``: tokens per second, TTFT and TPOT with p10, p50, p90."""
    return {
        "schema": THROUGHPUT_SCHEMA,
        "output_tokens_per_s": interval_document(estimate.output_tokens_per_s),
        "ttft_ms": interval_document(estimate.ttft_ms),
        "tpot_ms": interval_document(estimate.tpot_ms),
        "requests_per_s": round(estimate.requests_per_s, 4),
        "inputs": {
            "model": model,
            "gpu": gpu,
            "concurrency": estimate.concurrency,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "tensor_parallel": engine.tensor_parallel,
            "pipeline_parallel": engine.pipeline_parallel,
            "max_model_len": engine.max_model_len,
            "max_num_seqs": engine.max_num_seqs,
            "max_num_batched_tokens": engine.max_num_batched_tokens,
            "vllm_version": engine.vllm_version,
        },
        "explanation": figure_documents(estimate.figures),
    }
