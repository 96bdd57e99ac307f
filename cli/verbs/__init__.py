"""One file per verb of the command: parse options, call one function, show its document.

What does not live here: rendering (``render``), access to files, the Hub and AWS (``adapters``), any arithmetic.
"""
