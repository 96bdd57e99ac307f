"""What teams share and keep beside serving: registry of models, tracking, prompts, traces, evaluation, feedback.

Nothing is deployed from here yet; each part gets a package of its own, like those of the other layers. What does not
live here: what answers requests (``serving``) and what keeps weights and vectors (``data``).
"""
