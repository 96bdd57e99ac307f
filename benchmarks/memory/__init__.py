"""How far off the memory estimate is, beside other estimators, on recorded starts of vLLM; the fit of its constants."""
