"""A small stack that every rule accepts; tests break one thing at a time."""

from __future__ import annotations

import copy

from policies.graph import Resource

DIGEST = "@sha256:" + "a" * 64
INTERNAL = {"service.beta.kubernetes.io/aws-load-balancer-scheme": "internal"}


def pool(name="chat-spot", types=("g6e.xlarge", "g6e.2xlarge"), limit="4", gpu_name="l40s"):
    requirements = [
        {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": list(types)},
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"]},
        {"key": "karpenter.k8s.aws/instance-gpu-name", "operator": "In", "values": [gpu_name]},
    ]
    template = {
        "metadata": {"labels": {"tonnage.dev/pool": name}},
        "spec": {
            "requirements": requirements,
            "taints": [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}],
            "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": name},
        },
    }
    spec = {"template": template, "limits": {"nvidia.com/gpu": limit} if limit else {}}
    return {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": name}, "spec": spec}


def deployment(name="chat", gpus=1, pools=("chat-spot",)):
    container = {
        "name": "engine",
        "image": "example.com/runtime" + DIGEST,
        "args": ["--port=8000"],
        "env": [{"name": "VLLM_API_KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "chat"}}}],
        "resources": {"limits": {"nvidia.com/gpu": str(gpus)}},
    }
    expression = {"key": "tonnage.dev/pool", "operator": "In", "values": list(pools)}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    pod = {
        "containers": [container],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    }
    template = {"metadata": {"labels": {"app": name}}, "spec": pod}
    return {"metadata": {"name": name, "namespace": "serving"}, "spec": {"replicas": 0, "template": template}}


def good():
    """Every prop of the accepted stack by logical name; copy, break, then pass to ``resources``."""
    scaler = {"scaleTargetRef": {"name": "chat"}, "minReplicaCount": 0, "maxReplicaCount": 4}
    policy = {
        "podSelector": {"matchLabels": {"app": "chat"}},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "gateway"}}}]}],
    }
    in_serving = {"name": "chat", "namespace": "serving"}
    return copy.deepcopy(
        {
            "aws": ("pulumi:providers:aws", {"region": "us-east-1"}),
            "budget": ("aws:budgets/budget:Budget", {"limitAmount": "9000", "timeUnit": "MONTHLY"}),
            "chat-spot": ("kubernetes:karpenter.sh/v1:NodePool", pool()),
            "chat": ("kubernetes:apps/v1:Deployment", deployment()),
            "scaler": ("kubernetes:keda.sh/v1alpha1:ScaledObject", {"metadata": in_serving, "spec": scaler}),
            "guard": ("kubernetes:networking.k8s.io/v1:NetworkPolicy", {"metadata": in_serving, "spec": policy}),
            "service": ("kubernetes:core/v1:Service", {"metadata": in_serving, "spec": {"selector": {"app": "chat"}}}),
        }
    )


def resources(graph):
    return [Resource(type=token, name=name, urn=f"urn:{name}", props=props) for name, (token, props) in graph.items()]
