"""A load and a speed of round figures, for arithmetic by hand: 16 GB of weights on one card of 500 GB/s."""

from __future__ import annotations

from sizing.performance.roofline import Speed, StepWork

LOAD = StepWork(
    weights_bytes=16e9, kv_bytes_per_token=131072, parameters_active=8e9, layers=32, hidden_size=4096,
    attention_width=4096, gpus=1, chunk_tokens=2048,
)  # fmt: skip
SPEED = Speed(
    bandwidth_bytes_per_s=500e9, compute_flops_per_s=50e12, link_bytes_per_s=25e9, link_latency_s=10e-6,
    host_step_s=0.002, host_sequence_s=0.0,
)  # fmt: skip
