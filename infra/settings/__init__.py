"""Schema of a stack file: one typed document per layer, selected by ``tonnage:layer``.

Frozen pydantic models built from the types of ``sizing.inputs``; unknown keys are refused with the nearest known key.
A stack file never contains secrets: a setting that needs one takes the ARN of a Secrets Manager secret. What does not
live here: reading a file (``infra.config``).
"""
