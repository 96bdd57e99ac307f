"""Policies: the numbers of a stack judged again, from its resources alone.

``rules/`` holds pure functions from resources to violations; ``registry`` lists them and judges a graph; the pack is
assembled only in ``__main__`` because constructing it starts a server and never returns. The same rules run over the
offline graph (``tonnage preview``), inside the engine (``tonnage rehearse``, ``pulumi preview --policy-pack policies``)
and in tests.

What does not live here: reading the plan. A rule that asked the planner would only repeat it; these recompute.
"""
