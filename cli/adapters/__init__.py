"""External sources of the command: files, stack files, the Hub, AWS, a running endpoint.

What does not live here: what is made of it (``sizing``).
"""
