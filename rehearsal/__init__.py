"""The rehearsal: the real engine and a real control plane, on simulated GPU nodes.

What lives here, independent of Pulumi: ``tools`` finds or builds the pinned binaries, ``process`` starts them so that
none survives, ``control_plane`` runs etcd, API server, scheduler, controller manager and kwok and installs the pinned
custom resource definitions, ``simulated`` makes nodes and volumes and buys nodes as Karpenter does. On top ``run``
drives the engine against it through stand-in ``providers``, and ``checks`` compares the result with the plan. What does
not: sizing, resources, rendering. Only loopback is used and, to fetch what is pinned, the registries of Go modules and
Python packages.
"""
