"""Pulumi components: one ComponentResource per file, thin constructors over pure documents.

What lives here: typed arguments, the wiring of resources, their order. What does not: arithmetic on sizes and
prices (``sizing``), JSON-like documents (``components.documents``), providers, configuration, calls to a cloud.
"""
