"""One file a verb of the command: options in, one call, an answer shown.

What does not live here: how answers look (``render``), what files, the Hub and AWS say (``adapters``), any arithmetic.
"""
