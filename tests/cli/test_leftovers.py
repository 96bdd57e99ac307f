"""What a destroyed stack left: found by its tags, told with the command that removes it."""

import pytest

from cli.adapters.sweep import leftovers
from cli.render.leftovers import markdown, sentence
from infra.config import settings_from_file, stack_file
from infra.sweep import log_groups, searches

LEFT = "arn:aws:ec2:us-east-1:123456789012:volume/vol-1"


class Client:
    """Answers both calls with one page each; the tags that were asked for are kept."""

    def __init__(self):
        self.asked = []

    def get_paginator(self, operation):
        self.operation = operation
        return self

    def paginate(self, **asked):
        self.asked.append(asked)
        groups = [{"arn": "arn:aws:logs:us-east-1:123456789012:log-group:/aws/eks/tonnage-dev/cluster:*"}]
        return [{"ResourceTagMappingList": [{"ResourceARN": LEFT}], "logGroups": groups}]


def found(stack, make):
    settings = settings_from_file(stack_file(stack))
    return leftovers(searches(stack, settings), log_groups(stack, settings), "us-east-1", make)


def test_a_serving_stack_is_looked_for_by_its_own_tag_and_each_thing_told_once():
    client = Client()
    (left,) = found("dev", lambda service, region: client)
    assert client.asked == [{"TagFilters": [{"Key": "tonnage:stack", "Values": ["dev"]}]}]
    assert (left["arn"], left["remove"]) == (LEFT, "aws ec2 delete-volume --volume-id vol-1")


def test_a_cluster_stack_is_looked_for_by_the_tags_of_its_controllers_and_its_log_group_too():
    client = Client()
    left = found("dev-cluster", lambda service, region: client)
    keys = [one["TagFilters"][0]["Key"] for one in client.asked if "TagFilters" in one]
    assert {"elbv2.k8s.aws/cluster", "kubernetes.io/cluster/tonnage-dev", "cluster.k8s.amazonaws.com/name"} < set(keys)
    assert left[1]["remove"] == "aws logs delete-log-group --log-group-name /aws/eks/tonnage-dev/cluster"


def test_the_outcome_is_a_sentence_and_a_table_where_something_is_left():
    document = {"stack": "dev", "region": "us-east-1", "left": found("dev", lambda *_: Client())}
    assert sentence(document) == "dev in us-east-1: 1 resources carry its tags"
    assert "vol-1" in markdown(document)
    assert sentence({**document, "left": []}) == "dev in us-east-1: nothing carries its tags"


@pytest.mark.rehearsal  # moto takes seconds to come up
def test_volumes_network_interfaces_and_load_balancers_are_found_in_an_account():
    import boto3
    from moto import mock_aws

    with mock_aws():
        ec2 = boto3.client("ec2", "us-east-1")
        tags = [{"Key": "tonnage:stack", "Value": "dev"}]
        volume = {"ResourceType": "volume", "Tags": tags}
        ec2.create_volume(AvailabilityZone="us-east-1a", Size=10, TagSpecifications=[volume])
        ec2.create_volume(AvailabilityZone="us-east-1a", Size=10)
        subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
        balancers = boto3.client("elbv2", "us-east-1")
        balancers.create_load_balancer(Name="gateway", Type="network", Subnets=[subnet], Tags=tags)
        kinds = [one["kind"] for one in found("dev", boto3.client)]
    assert kinds == ["ec2:volume", "elasticloadbalancing:loadbalancer"]
