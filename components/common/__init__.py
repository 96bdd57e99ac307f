"""What several components are built from: checks of arguments, IAM statements, Kubernetes fragments, node settings,
tags.

What does not live here: a component, or a document of one component only.
"""
