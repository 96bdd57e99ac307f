"""How fast a replica is: a step by roofline, the requests in flight, the queue before it, each with its spread.

What does not live here: how many replicas the traffic takes and which are cheapest (``planning``).
"""
