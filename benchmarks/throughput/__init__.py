"""How far off throughput and latency are, beside other tools, on published points; the fit of their constants."""
