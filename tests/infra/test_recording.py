"""The recording engine sees what mocks hide: options, missing outputs, previews."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s
import pytest


class Pair(pulumi.ComponentResource):
    def __init__(self, name: str) -> None:
        super().__init__("tonnage:index:Pair", name)
        self.role = aws.iam.Role(
            f"{name}-role", assume_role_policy="{}", opts=pulumi.ResourceOptions(parent=self, protect=True)
        )
        self.cluster = aws.eks.Cluster(
            f"{name}-cluster",
            role_arn=self.role.arn,
            vpc_config={"subnet_ids": ["subnet-1"]},
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=["version"]),
        )
        self.register_outputs({"endpoint": self.cluster.endpoint})


def test_a_computed_output_reaches_the_input_that_depends_on_it(engine):
    recording = engine.run(lambda: Pair("x"))
    role, cluster = recording.one("aws:iam/role:Role"), recording.one("aws:eks/cluster:Cluster")
    assert cluster.props["roleArn"] == role.outputs["arn"]
    assert role.outputs["arn"].startswith("arn:aws:iam::123456789012:role/")
    assert cluster.property_dependencies["roleArn"] == (role.urn,)


def test_options_and_parents_are_recorded(engine):
    recording = engine.run(lambda: Pair("x"))
    pair = recording.one("tonnage:index:Pair")
    assert recording.one("aws:iam/role:Role").protect
    assert recording.one("aws:eks/cluster:Cluster").parent == pair.urn
    assert recording.one("aws:eks/cluster:Cluster").ignore_changes == ("version",)
    assert recording.component_outputs[pair.urn]["endpoint"].endswith("eks.amazonaws.com")


def test_a_preview_leaves_computed_outputs_unknown(engine):
    recording = engine.run(lambda: Pair("x"), preview=True)
    assert recording.one("aws:eks/cluster:Cluster").props["roleArn"] == "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


def test_a_resource_made_inside_apply_is_missing_from_a_preview(engine):
    def program() -> None:
        role = aws.iam.Role("role", assume_role_policy="{}")
        role.arn.apply(lambda arn: aws.iam.Role("hidden", assume_role_policy=arn))

    assert len(engine.run(program).resources) == 2
    assert len(engine.run(program, preview=True).resources) == 1


def test_a_secret_is_recorded_as_one(engine):
    recording = engine.run(lambda: k8s.core.v1.Secret("s", string_data=pulumi.Output.secret({"a": "b"})))
    secret = recording.one("kubernetes:core/v1:Secret")
    assert secret.secret_keys == ("stringData",)
    assert secret.props["stringData"] == {"a": "b"}


def test_an_exception_of_the_program_is_raised(engine):
    def program() -> None:
        pulumi.Output.from_input("x").apply(lambda _: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        engine.run(program)


@pytest.mark.parametrize("place", [0, 10, 19])
def test_one_failure_among_many_outputs_that_nothing_waits_for_is_raised(engine, place):
    seen = []

    def program() -> None:
        role = aws.iam.Role("role", assume_role_policy="{}")
        for number in range(20):
            role.arn.apply(lambda arn, number=number: 1 / 0 if number == place else seen.append(arn))

    with pytest.raises(ZeroDivisionError):
        engine.run(program)
    assert len(seen) == 19


def test_two_resources_with_one_urn_are_refused(engine):
    def program() -> None:
        aws.iam.Role("role", assume_role_policy="{}")
        aws.iam.Role("role", assume_role_policy="{}")

    with pytest.raises(Exception, match="same URN"):
        engine.run(program)
