"""The launch template of a managed node group, for GPU pools and for the system nodes."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi
import pulumi_aws as aws

from components.common.node import METADATA_HOP_LIMIT, ROOT_DEVICE, encoded_user_data
from components.common.tags import named
from sizing.plan import Disk

TAGGED = ("instance", "network-interface", "volume")
"""Tags of a managed node group do not reach its machines unless the launch template says so."""


def node_launch_template(
    name: str,
    *,
    physical_name: pulumi.Input[str],
    disk: Disk,
    config: dict[str, object],
    tags: Mapping[str, str],
    opts: pulumi.ResourceOptions,
) -> aws.ec2.LaunchTemplate:
    """Register a launch template: encrypted gp3 root, metadata version 2 with one hop, tags on everything.

    ``physical_name`` must be unique in the account, so it carries the cluster's name. A resource rather than a
    component: it is one child of the component that calls this, which owns its logical name.
    """
    return aws.ec2.LaunchTemplate(
        name,
        name=physical_name,
        update_default_version=True,
        block_device_mappings=[_root_device(disk)],
        metadata_options=aws.ec2.LaunchTemplateMetadataOptionsArgs(
            http_endpoint="enabled", http_tokens="required", http_put_response_hop_limit=METADATA_HOP_LIMIT
        ),
        tag_specifications=[
            aws.ec2.LaunchTemplateTagSpecificationArgs(resource_type=kind, tags=named(tags, name)) for kind in TAGGED
        ],
        user_data=encoded_user_data(config),
        tags=named(tags, name),
        opts=opts,
    )


def _root_device(disk: Disk) -> aws.ec2.LaunchTemplateBlockDeviceMappingArgs:
    return aws.ec2.LaunchTemplateBlockDeviceMappingArgs(
        device_name=ROOT_DEVICE,
        ebs=aws.ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
            volume_type="gp3",
            volume_size=disk.size_gib,
            iops=disk.iops,
            throughput=disk.throughput_mib_per_s,
            encrypted="true",
            delete_on_termination="true",
        ),
    )
