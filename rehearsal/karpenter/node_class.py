"""The node class that Karpenter's kwok provider reads, in place of the EC2NodeClass that a NodePool names.

The NodePools are the stack's own. Only their reference is replaced, by the API server on admission, so that whoever
applies one (the engine, ``kubectl`` on a kept rehearsal) gets the same.
"""

from __future__ import annotations

from typing import Any

NAME = "rehearsal"
GROUP, KIND = "karpenter.kwok.sh", "KWOKNodeClass"
_ADMISSION = "admissionregistration.k8s.io/v1"
_REFERENCE = "/spec/template/spec/nodeClassRef"


def documents() -> tuple[dict[str, Any], ...]:
    """Return the node class, and the policy with its binding that put it into every NodePool."""
    called = {"name": f"{NAME}-node-class"}
    node_class = {"apiVersion": f"{GROUP}/v1alpha1", "kind": KIND, "metadata": {"name": NAME}, "spec": {}}
    policy = {
        "apiVersion": _ADMISSION,
        "kind": "MutatingAdmissionPolicy",
        "metadata": called,
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": ["karpenter.sh"],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": ["nodepools"],
                    }
                ]
            },
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": _patch()}}],
        },
    }
    binding = {
        "apiVersion": _ADMISSION,
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": called,
        "spec": {"policyName": called["name"]},
    }
    return node_class, policy, binding


def _patch() -> str:
    """Return the CEL list of replacements."""
    values = {"group": GROUP, "kind": KIND, "name": NAME}
    step = 'JSONPatch{{op: "replace", path: "{path}/{key}", value: "{value}"}}'
    steps = [step.format(path=_REFERENCE, key=key, value=value) for key, value in values.items()]
    return f"[{', '.join(steps)}]"
