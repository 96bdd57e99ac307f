"""Names that a stack file may not take: those of the cluster's namespaces and of a serving stack's own objects."""

from __future__ import annotations

import re

from components.cluster.operators.documents import INSTALL_ORDER, own_namespaces
from components.data.model_store import documents as model_store
from components.data.vector_store import documents as vector_store
from components.serving.namespace import documents as namespace
from sizing.errors import BadInput

VECTOR_STORE = "vectors"
"""Name of the vector store, and of its Service."""
DEFAULT = "default"
"""Kubernetes makes a namespace of this name, and in each namespace a ServiceAccount of this name."""
KUBERNETES = "kube-"
"""Start of the names of namespaces that Kubernetes keeps for itself (its documentation, "Namespaces")."""
CLUSTER_NAMESPACES = (DEFAULT, *own_namespaces(INSTALL_ORDER))
OWN_OBJECTS = tuple(
    sorted({DEFAULT, *namespace.OBJECT_NAMES, *model_store.OBJECT_NAMES, *vector_store.object_names(VECTOR_STORE)})
)
"""Names of objects beside the models, in the namespace of both, whether the stack file asks for them or not: a vector
store that is added later must not take a model's."""
STACK = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
"""Letters that S3, ECR, EKS and Kubernetes all take."""
MOST_ENVIRONMENT = 27
"""Characters of an environment's name: with ``tonnage-`` before and ``-aws-load-balancer-controller`` behind it is the
name of a role, of which IAM takes 64."""
MOST_STACK = 40
"""Characters of a stack's name: tags, alarms and budgets carry it beside that of the cluster."""


def environment(stack: str) -> str:
    """Return the environment that a stack belongs to: ``prod`` for ``prod`` and ``prod-cluster``."""
    return stack.removesuffix("-cluster")


def check_stack_name(stack: str, *, cluster: bool) -> None:
    """Refuse the name of a stack of which names in AWS are made that a service would not take.

    Of the stack of a ``cluster`` the environment is part of such names, of others the name as it stands.
    """
    name, most = (environment(stack), MOST_ENVIRONMENT) if cluster else (stack, MOST_STACK)
    if STACK.fullmatch(name) is None or len(name) > most:
        raise BadInput(
            f"stack {stack}",
            f"{name!r} cannot be part of names in AWS",
            limit=f"lower-case letters, digits and single - between them, at most {most} characters",
            way_out="name the stack, and its file, otherwise",
        )
