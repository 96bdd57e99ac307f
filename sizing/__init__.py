"""Pure core of Tonnage: model + workload + catalogue -> plan.

What lives here: the description of a model, the memory and throughput estimates, the planner, the bill
and the explanation of every figure. What does not: pulumi, boto3, kubernetes, network, clock, randomness.
The same input gives the same bytes. Facts (GPUs, instances, prices, calibrated constants, model
configurations) are JSON files under ``sizing/catalogue`` with source, date and refresh command.
"""
