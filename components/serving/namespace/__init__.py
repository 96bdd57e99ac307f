"""The namespace of a serving stack: pod security, default deny, GPU quota."""
