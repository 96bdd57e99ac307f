"""What follows the Kubernetes version: add-ons, node image, node groups, node classes; other versions are refused."""

from __future__ import annotations

import re

import pytest

from components.capacity.karpenter_pools.documents import check_alias
from components.cluster.eks.documents import check_addons
from infra import versions
from infra.config import settings_from_file, stack_file
from infra.kubernetes_versions import kubernetes_version, newest_version, outside_window, table
from infra.offline import run_offline
from sizing.errors import BadInput

KNOWN = tuple(table()["versions"])


@pytest.mark.parametrize("version", KNOWN)
def test_a_known_version_has_pinned_addons_a_pinned_image_and_charts_made_for_it(version):
    row = kubernetes_version(version, "here")
    check_addons(row.addons)
    check_alias(row.ami_alias)
    assert row.addons["kube-proxy"].startswith(f"v{version}.")
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", row.end_of_standard_support)
    assert outside_window(version) == []


def test_the_windows_are_those_of_the_charts_that_are_installed():
    installed = {**versions.CHARTS, "karpenter": versions.KARPENTER}
    for name, row in table()["charts"].items():
        assert installed[name].version.startswith(f"{row['chart']}.")


def test_a_chart_that_is_not_made_for_a_version_is_named():
    assert "keda 2.21 is for 1.34 to 1.36" in outside_window("1.37")
    assert newest_version() == "1.36"


def test_between_the_upgrades_of_two_stacks_gpu_nodes_can_be_bought():
    """The image of a serving stack that has not followed yet exists for the cluster's new version too."""
    assert len({row["ami_alias"] for row in table()["versions"].values()}) == 1


@pytest.mark.parametrize("version", ["1.34", "1.37", "1.99"])
def test_a_version_that_is_not_in_the_table_is_refused_with_the_list(tmp_path, version):
    path = tmp_path / "Pulumi.dev-cluster.yaml"
    path.write_text(stack_file("dev-cluster").read_text() + f'  tonnage:kubernetesVersion: "{version}"\n')
    with pytest.raises(BadInput) as refused:
        settings_from_file(path)
    assert refused.value.line().endswith(
        f"tonnage:kubernetesVersion: '{version}' has no tested add-ons and node image; limit: one of 1.35, 1.36; "
        "hint: take one of these, or add a row to infra/kubernetes_versions.json with the command that it names"
    )


def test_everything_follows_the_version_of_the_cluster_stack(tmp_path):
    (tmp_path / "Pulumi.prod.yaml").write_text(stack_file("prod").read_text())
    cluster = tmp_path / "Pulumi.prod-cluster.yaml"
    cluster.write_text(stack_file("prod-cluster").read_text() + '  tonnage:kubernetesVersion: "1.35"\n')
    made = run_offline("prod-cluster", stacks_dir=tmp_path)
    below, above = made.resources, run_offline("prod", stacks_dir=tmp_path).resources
    groups = {one.props["version"] for one in (*below, *above) if one.type == "aws:eks/nodeGroup:NodeGroup"}
    images = {str(one.props["spec"]["amiSelectorTerms"]) for one in above if one.type.endswith(":EC2NodeClass")}
    row = kubernetes_version("1.35", "here")
    assert groups == {"1.35"}
    (notice,) = [text for _, text in made.messages]
    assert notice == (
        "tonnage:kubernetesVersion 1.35: standard support ends on 2027-03-27, EKS then upgrades the control plane by "
        "itself and the nodes stay behind; hint: 1.36 before that day"
    )
    assert images == {f"[{{'alias': '{row.ami_alias}'}}]"}
    assert {one.props["addonVersion"] for one in below if one.type == "aws:eks/addon:Addon"} == {*row.addons.values()}
