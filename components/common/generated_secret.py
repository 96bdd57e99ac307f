"""A Secret that External Secrets generates inside the cluster: it is in no state file and never leaves."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi
import pulumi_kubernetes as kubernetes

from components.common.kubernetes import (
    EXTERNAL_SECRETS_API,
    GENERATORS_API,
    Document,
    generated_key_secret,
    generated_password,
)


def generated_secret(
    *,
    generator: str,
    secret: str,
    metadata: Document,
    templates: Mapping[str, str],
    opts: pulumi.ResourceOptions,
) -> kubernetes.apiextensions.CustomResource:
    """Register the generator and the ExternalSecret that reads it; return the latter.

    ``generator`` and ``secret`` are the logical names, ``metadata`` that of both objects (they have one name),
    ``templates`` maps keys of the Secret to templates over ``.password``, ``opts`` are those of the caller's children.
    """
    object_name = str(metadata["name"])
    password = kubernetes.apiextensions.CustomResource(
        generator,
        api_version=GENERATORS_API,
        kind="Password",
        metadata=metadata,
        spec=generated_password(),
        opts=opts,
    )
    return kubernetes.apiextensions.CustomResource(
        secret,
        api_version=EXTERNAL_SECRETS_API,
        kind="ExternalSecret",
        metadata=metadata,
        spec=generated_key_secret(object_name, object_name, templates),
        opts=pulumi.ResourceOptions(parent=opts.parent, depends_on=[password]),
    )
