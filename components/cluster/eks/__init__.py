"""The control plane, its add-ons and the system nodes. GPU nodes are in ``capacity``."""
