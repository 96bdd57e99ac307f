"""The rehearsal: the real engine and a real control plane, on simulated GPU nodes.

Lower half (knows nothing of Pulumi): ``tools`` finds or builds the pinned binaries, ``process`` starts them so
that none survives, ``control_plane`` runs etcd, the API server, the scheduler, the controller manager and kwok,
``nodes`` makes GPU nodes from a plan, ``volumes`` plays the EBS driver, ``crds`` installs the pinned custom resource
definitions. The upper half drives the engine against it and checks what came out.

What does not live here: sizing, resources, rendering. Nothing here talks to anything but loopback.
"""
