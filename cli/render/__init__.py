"""Renderers: a document in, text, Markdown or HTML out.

What lives here: layout. What does not: figures. A number that is shown stands in the document that ``--format json``
prints.
"""
