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

MOST_STACK_NAME = 27
"""Characters of a stack's name, ``-cluster`` left out, with which every name made of it is short enough; the role of
the load balancer controller is the first that is not (a test renders both sides)."""
STACK_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
"""What all services take that get names made of it: queues take no dot, repositories and buckets no capitals."""
CLUSTER_SUFFIX = "-cluster"


def check_stack_name(stack: str) -> None:
    """Refuse a stack whose name makes a name that some service refuses, which would show in the middle of an update."""
    environment = stack.removesuffix(CLUSTER_SUFFIX)
    where, way_out = "stack", f"rename stacks/Pulumi.{stack}.yaml"
    if not STACK_NAME.fullmatch(environment):
        problem = f"{stack!r} cannot be part of names in AWS and Kubernetes"
        raise BadInput(where, problem, limit="lower-case letters, digits and -, from a letter", way_out=way_out)
    if len(environment) > MOST_STACK_NAME:
        problem = f"{environment!r} has {len(environment)} characters, and names of roles are made of it"
        raise BadInput(where, problem, limit=f"{MOST_STACK_NAME} characters", way_out=way_out)
