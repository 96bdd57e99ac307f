"""What is loaded of the generated SDKs: only what is named, the same objects, and all of it when nothing else helps."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from infra.sdk import collector_paused

ROOT = Path(__file__).resolve().parents[2]


def told(code: str) -> list[str]:
    """Return what a fresh process prints that loads only what is named."""
    begin = "import sys; from infra.sdk import load_only_what_is_named; load_only_what_is_named();"
    done = subprocess.run([sys.executable, "-c", begin + code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_a_class_is_loaded_without_its_neighbours_and_is_the_same_once_all_are_there() -> None:
    assert told(
        "import pulumi_aws as aws, pulumi_kubernetes as kubernetes;"
        "topic, arguments = aws.sns.Topic, aws.iam.RoleInlinePolicyArgs;"
        "print(hasattr(aws.sns, '__wrapped__'), 'pulumi_aws.sns.platform_application' in sys.modules);"
        "print(hasattr(aws.sns, 'NoSuchClass'), 'pulumi_aws.sns.platform_application' in sys.modules);"
        "print(topic is aws.sns.Topic is sys.modules['pulumi_aws.sns.topic'].Topic, arguments.__module__);"
        "print(kubernetes.policy.v1.PodDisruptionBudget.__name__);"
        "print(callable(aws.sns.get_topic), aws.iam.outputs.__name__)"
    ) == [
        *("False", "False"),
        *("False", "True"),
        *("True", "pulumi_aws.iam._inputs", "PodDisruptionBudget"),
        *("True", "pulumi_aws.iam.outputs"),
    ]


def test_a_star_takes_everything_as_ever() -> None:
    assert told("from pulumi_aws.sqs import *; print(Queue.__name__, get_queue.__name__)") == ["Queue", "get_queue"]


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_runs_again_afterwards_only_if_it_ran_before(enabled: bool) -> None:
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with collector_paused():
            assert not gc.isenabled()
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()
