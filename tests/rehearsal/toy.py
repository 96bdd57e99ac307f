"""A small environment with the shapes of the real one: a cluster stack, a serving stack, one model on one pool."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

from tests.policies.graphs import DIGEST, deployment, pool

LABELS = {"app.kubernetes.io/name": "chat", "app.kubernetes.io/component": "model"}


def cluster():
    provider = aws.Provider("aws", region="us-east-1")
    opts = pulumi.ResourceOptions(provider=provider)
    vpc = aws.ec2.Vpc("vpc", cidr_block="10.0.0.0/16", opts=opts)
    subnets = [
        aws.ec2.Subnet(zone, vpc_id=vpc.id, cidr_block=f"10.0.{i}.0/24", availability_zone_id=zone, opts=opts)
        for i, zone in enumerate(("use1-az1", "use1-az2"))
    ]
    aws.eks.NodeGroup(
        "system",
        cluster_name="toy",
        node_role_arn="arn:aws:iam::123456789012:role/node",
        instance_types=["m7i.large"],
        subnet_ids=[subnet.id for subnet in subnets],
        scaling_config={"min_size": 2, "desired_size": 2, "max_size": 2},
        opts=opts,
    )
    pulumi.export("vpc", vpc.id)


def serving(replicas=1, limit="2", gpus=1, image="example.com/runtime" + DIGEST):
    provider = aws.Provider("aws", region="us-east-1")
    cloud = pulumi.ResourceOptions(provider=provider)
    opts = pulumi.ResourceOptions(provider=k8s.Provider("kubernetes", kubeconfig="{}"))
    aws.budgets.Budget(
        "budget", budget_type="COST", limit_amount="9000", limit_unit="USD", time_unit="MONTHLY", opts=cloud
    )
    namespace = k8s.core.v1.Namespace("serving", metadata={"name": "serving"}, opts=opts)
    for document in (_node_class(), pool(limit=limit)):
        k8s.apiextensions.CustomResource(
            document["kind"].lower(),
            api_version=document["apiVersion"],
            kind=document["kind"],
            metadata=document["metadata"],
            spec=document["spec"],
            opts=opts,
        )
    _model(pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[namespace])), replicas, gpus, image)


def _node_class():
    spec = {
        "amiSelectorTerms": [{"alias": "al2023@v20260714"}],
        "role": "node",
        "subnetSelectorTerms": [{"tags": {"discovery": "toy"}}],
        "securityGroupSelectorTerms": [{"tags": {"discovery": "toy"}}],
        "blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": {"volumeSize": "100Gi", "volumeType": "gp3"}}],
    }
    return {
        "apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass", "metadata": {"name": "chat-spot"}, "spec": spec
    }  # fmt: skip


def _model(opts, replicas, gpus, image):
    template = deployment(gpus=gpus)["spec"]["template"]
    template["metadata"]["labels"] = LABELS
    template["spec"]["containers"][0]["image"] = image
    spec = {"replicas": replicas, "selector": {"matchLabels": LABELS}, "template": template}
    metadata = {"name": "chat", "namespace": "serving"}
    k8s.apps.v1.Deployment("chat", metadata=metadata, spec=spec, opts=opts)
    policy = {
        "podSelector": {"matchLabels": LABELS},
        "policyTypes": ["Ingress"],
        "ingress": [{"from_": [{"podSelector": {"matchLabels": {"app": "gateway"}}}]}],
    }
    k8s.networking.v1.NetworkPolicy("chat", metadata=metadata, spec=policy, opts=opts)


def program(**changes):
    def run():
        if pulumi.get_stack().endswith("-cluster"):
            cluster()
        else:
            serving(**changes)

    return run
