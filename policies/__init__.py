"""Policies: checks of a stack's figures and security, recomputed from its resources alone.

``rules/`` holds pure functions from resources to violations; ``registry`` lists them and runs them over a graph; the
pack is made only in ``__main__``, because its constructor starts a server and never returns. The same rules run over
the offline graph (``tonnage preview``), inside the engine (``tonnage rehearse``, ``pulumi preview --policy-pack
policies``) and in tests.

What does not live here: reading the plan. A rule that asked the planner would only repeat its figures.
"""
