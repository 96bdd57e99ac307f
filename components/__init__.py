"""Pulumi components by layer, then one package each: thin constructors (``component``) over pure ``documents``.

What lives here: typed arguments, the wiring of resources, their order, the documents that they are made of, IAM
(``policy``). What does not: arithmetic on plan figures (``sizing``), providers, configuration, calls to a cloud.
"""
