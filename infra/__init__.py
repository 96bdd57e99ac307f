"""The Pulumi program: settings -> plan -> components -> outputs.

What lives here: the only reader of ``pulumi.Config``, the only maker of providers, the pins of every version, the
typed contract between the stacks, and the offline run of the program under the SDK's mocks.
What does not: arithmetic (``sizing``), resources (``components``), rules (``policies``), rendering (``cli``).
"""
