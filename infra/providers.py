"""The only place that makes providers; components never use default providers."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes
from pulumi.runtime import invoke_async

from sizing.errors import BadInput

CALLER_IDENTITY = "aws:index/getCallerIdentity:getCallerIdentity"
"""Function of the AWS provider: account and ARN of its credentials."""


def aws_provider(region: str, tags: Mapping[str, str]) -> aws.Provider:
    """Return the provider of one region; ``tags`` are put on every AWS resource."""
    return aws.Provider("aws", region=region, default_tags=aws.ProviderDefaultTagsArgs(tags=dict(tags)))


async def caller_arn(provider: aws.Provider) -> str:
    """Return who AWS says is calling; BadInput when it does not answer, for want of credentials for example."""
    try:
        answer = await invoke_async(CALLER_IDENTITY, {}, pulumi.InvokeOptions(provider=provider))
    except Exception as error:
        problem = " ".join(str(error).split()) or type(error).__name__
        raise BadInput("AWS", f"does not say who calls: {problem}", way_out="aws sts get-caller-identity") from error
    return str(answer["arn"])


def kubernetes_provider(
    *,
    region: str,
    cluster_name: str,
    endpoint: pulumi.Input[str],
    certificate_authority: pulumi.Input[str],
    opts: pulumi.ResourceOptions | None = None,
) -> kubernetes.Provider:
    """Return the provider of one EKS cluster.

    Its kubeconfig holds no credential: ``aws eks get-token`` is run at each use. ``cluster_identifier`` keeps a
    changed kubeconfig from looking like another cluster, which would replace everything.
    """
    config = pulumi.Output.all(endpoint, certificate_authority).apply(
        lambda known: kubeconfig(region=region, cluster_name=cluster_name, endpoint=known[0], certificate=known[1])
    )
    return kubernetes.Provider(
        "kubernetes", kubeconfig=config, cluster_identifier=cluster_name, enable_server_side_apply=True, opts=opts
    )


def kubeconfig(*, region: str, cluster_name: str, endpoint: str, certificate: str) -> str:
    """Return a kubeconfig (JSON is YAML) whose token comes from ``aws eks get-token``; ``certificate`` is base64."""
    token = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": "aws",
        "args": ["--region", region, "eks", "get-token", "--cluster-name", cluster_name, "--output", "json"],
        "interactiveMode": "Never",
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": cluster_name, "cluster": {"server": endpoint, "certificate-authority-data": certificate}}
        ],
        "users": [{"name": cluster_name, "user": {"exec": token}}],
        "contexts": [{"name": cluster_name, "context": {"cluster": cluster_name, "user": cluster_name}}],
        "current-context": cluster_name,
    }
    return json.dumps(document, sort_keys=True)
