"""The rehearsal: the real engine and a real control plane, on simulated GPU nodes.

What lives here, lower half (knows nothing of Pulumi): ``tools`` finds or builds the pinned binaries, ``process``
starts them so that none survives, ``control_plane`` runs etcd, the API server, the scheduler, the controller manager
and kwok, ``nodes`` makes simulated nodes, ``volumes`` plays the EBS driver, ``crds`` installs the pinned custom
resource definitions. The upper half drives the engine against it, through stand-in providers, and checks what came
out. What does not: sizing, resources, rendering. Nothing here talks to anything but loopback and, to fetch what is
pinned, the registries of Go modules and Python packages.
"""
