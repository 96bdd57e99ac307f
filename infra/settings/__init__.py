"""What a stack file may say: one typed document per layer, told apart by ``tonnage:layer``.

Frozen pydantic models built from the types of ``sizing.inputs``; unknown keys are refused and the nearest known key is
named. Secrets never stand in a stack file: a setting that needs one takes the ARN of a Secrets Manager entry. What does
not live here: reading a file (``infra.config``).
"""
