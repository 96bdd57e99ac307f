"""ECR lifecycle policy."""

from __future__ import annotations

import json


def lifecycle_policy(untagged_days: int) -> str:
    """Return the policy that removes images without a tag after ``untagged_days``.

    Nodes pull by digest, so an image in use must keep its tag; the build tags every image that it pushes.
    """
    rule = {
        "rulePriority": 1,
        "description": f"remove untagged images after {untagged_days} days",
        "selection": {
            "tagStatus": "untagged",
            "countType": "sinceImagePushed",
            "countUnit": "days",
            "countNumber": untagged_days,
        },
        "action": {"type": "expire"},
    }
    return json.dumps({"rules": [rule]}, sort_keys=True)
