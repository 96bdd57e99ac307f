"""The ``tonnage`` command: parse, call, render.

What lives here: one file per verb, shared options, the renderers (``cli.render``), and the one place that turns an
error into a line and an exit code (``cli.__main__``). What does not: arithmetic and decisions. A verb asks
another folder for a document, and every format shows that same document.

Exit codes: 0 yes, 2 bad input, 3 a clear "no", 1 an error of ours, 130 interrupted.
"""
