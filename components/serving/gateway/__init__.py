"""The gateway before all models: routes, keys, limits, timeouts."""
