"""What every EC2 node of ours starts with: user data, root volume, metadata options.

Shared by managed node groups (launch template) and Karpenter (EC2NodeClass), so that a pod finds the same node
whoever bought it.
"""

from __future__ import annotations

import base64
import json

from sizing.nodes.labels import POOL_LABEL
from sizing.plan import Disk, NodePoolPlan

ROOT_DEVICE = "/dev/xvda"
"""Root device of the Amazon Linux 2023 EKS images."""
BOUNDARY = "TONNAGE"
"""MIME boundary; fixed, so that the same settings give the same bytes."""
GPU_AMI_TYPE = "AL2023_x86_64_NVIDIA"
SYSTEM_AMI_TYPE = "AL2023_x86_64_STANDARD"
METADATA_HOP_LIMIT = 1
"""One hop: pods cannot reach the instance's credentials, they get their own by Pod Identity."""


def node_config(*, local_disks: bool, fast_image_pull: bool = True) -> dict[str, object]:
    """Return the nodeadm NodeConfig.

    ``FastImagePull`` downloads and unpacks layers in parallel (off by default, ignored on small instances).
    ``local_disks`` puts container images, kubelet and pod storage on a RAID0 of the instance's NVMe disks, where it
    has any: the EBS baseline of small GPU instances is a tenth of that. Source: amazon-eks-ami, nodeadm documentation.
    """
    spec: dict[str, object] = {}
    if fast_image_pull:
        spec["featureGates"] = {"FastImagePull": True}
    if local_disks:
        spec["instance"] = {"localStorage": {"strategy": "RAID0"}}
    return {"apiVersion": "node.eks.aws/v1alpha1", "kind": "NodeConfig", "spec": spec}


def user_data(config: dict[str, object]) -> str:
    """Return the MIME document that carries a NodeConfig (JSON is YAML); EKS and Karpenter merge it with theirs."""
    lines = [
        "MIME-Version: 1.0",
        f'Content-Type: multipart/mixed; boundary="{BOUNDARY}"',
        "",
        f"--{BOUNDARY}",
        "Content-Type: application/node.eks.aws",
        "",
        json.dumps(config, indent=2, sort_keys=True),
        f"--{BOUNDARY}--",
        "",
    ]
    return "\n".join(lines)


def encoded_user_data(config: dict[str, object]) -> str:
    """Return the user data as a launch template wants it."""
    return base64.b64encode(user_data(config).encode()).decode()


def root_volume(disk: Disk) -> dict[str, object]:
    """Return the root volume as an EC2NodeClass block device: encrypted gp3, deleted with the node."""
    return {
        "deviceName": ROOT_DEVICE,
        "ebs": {
            "volumeType": "gp3",
            "volumeSize": f"{disk.size_gib}Gi",
            "iops": disk.iops,
            "throughput": disk.throughput_mib_per_s,
            "encrypted": True,
            "deleteOnTermination": True,
        },
    }


def metadata_options() -> dict[str, object]:
    """Return the instance metadata options of an EC2NodeClass: version 2 only, one hop."""
    return {
        "httpEndpoint": "enabled",
        "httpProtocolIPv6": "disabled",
        "httpPutResponseHopLimit": METADATA_HOP_LIMIT,
        "httpTokens": "required",
    }


def node_labels(pool: NodePoolPlan) -> dict[str, str]:
    """Return the labels of a pool's nodes; the pool's name is always among them."""
    return dict(sorted({**pool.labels, POOL_LABEL: pool.name}.items()))
