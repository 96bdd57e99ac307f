"""ECR repository of the runtime image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.cluster.registry.documents import lifecycle_policy
from components.common.arguments import require_number, require_tags, require_text


@dataclass(frozen=True, kw_only=True)
class RegistryArgs:
    """``untagged_days`` is how long an image without a tag is kept; tagged images are never removed."""

    repository: str
    tags: Mapping[str, str]
    untagged_days: int = 14

    def __post_init__(self) -> None:
        """Refuse an empty name and impossible retention."""
        require_text("registry.repository", self.repository)
        require_number("registry.untaggedDays", self.untagged_days, at_least=1, at_most=3650)
        require_tags("registry.tags", self.tags)


class Registry(pulumi.ComponentResource):
    """A repository whose tags cannot be moved; images are scanned when pushed."""

    repository_url: pulumi.Output[str]
    repository_arn: pulumi.Output[str]

    def __init__(self, name: str, args: RegistryArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tonnage:index:Registry", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        repository = aws.ecr.Repository(
            name,
            name=args.repository,
            image_tag_mutability="IMMUTABLE",
            image_scanning_configuration=aws.ecr.RepositoryImageScanningConfigurationArgs(scan_on_push=True),
            encryption_configurations=[aws.ecr.RepositoryEncryptionConfigurationArgs(encryption_type="AES256")],
            tags=dict(args.tags),
            opts=child,
        )
        aws.ecr.LifecyclePolicy(
            f"{name}-lifecycle",
            repository=repository.name,
            policy=lifecycle_policy(args.untagged_days),
            opts=child,
        )
        self.repository_url = repository.repository_url
        self.repository_arn = repository.arn
        self.register_outputs({"repositoryUrl": self.repository_url, "repositoryArn": self.repository_arn})
