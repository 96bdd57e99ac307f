"""Settings that are well formed and still cannot work: networks, services, zones, partitions, accounts."""

from __future__ import annotations

import pytest
import yaml

from infra.config import settings_from_file
from infra.settings.networks import endpoint_services
from tests.infra.test_settings import CLUSTER, SERVING, refusal

CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/1a2b"
SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:tonnage/dev/key"


def stated(text: str, key: str, value: object) -> str:
    document = yaml.safe_load(text)
    document["config"][f"tonnage:{key}"] = value
    return yaml.safe_dump(document)


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        (
            "zoneIds",
            ["use1-az1", "use1-az3"],
            (
                "zoneIds[1]: 'use1-az3' takes no subnet of an EKS cluster; limit: any zone but use1-az3, usw1-az2, "
                "cac1-az3; hint: name another zone of the region"
            ),
        ),
        ("zoneIds", ["use1-az1", "use1-az1"], "zoneIds[1]: 'use1-az1' is named twice; hint: name each zone once"),
        (
            "interfaceEndpoints",
            ["s3"],
            (
                "interfaceEndpoints[0]: 's3' has its gateway endpoint always, which is free; "
                "limit: a service of infra/endpoint_services.json; hint: leave it out"
            ),
        ),
        (
            "interfaceEndpoints",
            ["sts", "ecr-api"],
            (
                "interfaceEndpoints[1]: 'ecr-api' has no interface endpoint here; "
                "limit: a service of infra/endpoint_services.json; hint: did you mean ecr.api?"
            ),
        ),
        (
            "publicAccessCidrs",
            ["10.0.0.0/8"],
            (
                "publicAccessCidrs[0]: 10.0.0.0/8 is private, and who comes to the public endpoint has a public "
                "address; limit: public networks; hint: name the address that your network shows to the internet"
            ),
        ),
        (
            "publicAccessCidrs",
            ["2001:db8::/32"],
            (
                "publicAccessCidrs[0]: 2001:db8::/32 is IPv6; limit: IPv4: cluster and load balancer have no other "
                "addresses; hint: leave it out"
            ),
        ),
        (
            "publicAccessCidrs",
            ["0.0.0.0/1", "128.0.0.0/1"],
            (
                "publicAccessCidrs[0]: 0.0.0.0/1 opens the Kubernetes API to half the internet; limit: /8 or narrower; "
                "hint: name the networks of your people and CI"
            ),
        ),
        (
            "publicAccessCidrs",
            [f"203.0.113.{number}/32" for number in range(41)],
            "publicAccessCidrs: 41 networks; limit: 40 by EKS",
        ),
        (
            "adminRoleArns",
            ["arn:aws-cn:iam::123456789012:role/ops"],
            "adminRoleArns[0]: is of the partition aws-cn; limit: aws, that of us-east-1; hint: write arn:aws:...",
        ),
        (
            "adminRoleArns",
            ["arn:aws:iam::123456789012:role/aws-service-role/eks.amazonaws.com/AWSServiceRoleForAmazonEKS"],
            (
                "adminRoleArns[0]: is the role of an AWS service, which nobody can take on; limit: roles of people and "
                "CI; hint: name the role that you deploy with"
            ),
        ),
    ],
)
def test_a_cluster_setting_that_aws_would_refuse_is_refused(tmp_path, key, value, line):
    assert refusal(tmp_path, stated(CLUSTER, key, value)) == f"tonnage:{line}"


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (
            {"scheme": "internet-facing", "certificateArn": CERTIFICATE, "allowedCidrs": ["10.0.0.0/8"]},
            (
                "gateway.allowedCidrs: every network is private, and callers come to an internet-facing load balancer "
                "with public addresses; limit: at least one public network; hint: gateway.scheme internal, or name the "
                "public networks of your callers"
            ),
        ),
        (
            {"allowedCidrs": ["10.0.0.0/8", "2001:db8::/32"]},
            (
                "gateway.allowedCidrs[1]: 2001:db8::/32 is IPv6; limit: IPv4: cluster and load balancer have no other "
                "addresses; hint: leave it out"
            ),
        ),
        (
            {"certificateArn": CERTIFICATE.replace("aws:", "aws-us-gov:", 1)},
            (
                "gateway.certificateArn: is of the partition aws-us-gov; limit: aws, that of us-east-1; "
                "hint: write arn:aws:..."
            ),
        ),
        (
            {"certificateArn": CERTIFICATE.replace("123456789012", "999999999999"), "apiKeysSecretArn": SECRET},
            (
                "gateway.certificateArn: is in account 999999999999, gateway.apiKeysSecretArn in 123456789012; "
                "limit: one account: that of the cluster; hint: make one in 123456789012 and give its ARN"
            ),
        ),
    ],
)
def test_a_gateway_that_nobody_could_use_is_refused(tmp_path, value, line):
    assert refusal(tmp_path, stated(SERVING, "gateway", value)) == f"tonnage:{line}"


def test_an_address_with_two_ats_is_refused(tmp_path):
    budget = {"monthlyUsd": 6000, "notify": ["ops@eu@example.com"]}
    line = refusal(tmp_path, stated(SERVING, "budget", budget))
    assert line == "tonnage:budget.notify: 'ops@eu@example.com' is not an e-mail address"


def test_what_works_is_let_through(tmp_path):
    path = tmp_path / "Pulumi.dev.yaml"
    for key, value in (("interfaceEndpoints", list(endpoint_services())), ("publicAccessCidrs", ["203.0.113.0/24"])):
        path.write_text(stated(CLUSTER, key, value))
        settings_from_file(path)
