"""Names that a stack file may not take: those of the cluster's namespaces and of a serving stack's own objects."""

from __future__ import annotations

from components.cluster.operators.documents import INSTALL_ORDER, own_namespaces
from components.data.model_store import documents as model_store
from components.data.vector_store import documents as vector_store
from components.serving.namespace import documents as namespace

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
