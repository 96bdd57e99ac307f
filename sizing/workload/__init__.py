"""What traffic comes: rates, lengths of prompts and answers, times between arrivals, a day, a trace of requests.

What does not live here: how fast a replica answers them (``performance``), how many replicas they take (``planning``).
"""
