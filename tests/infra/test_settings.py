"""Stack files: what is refused and in which words, one validation for file and engine, the schema."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from infra.config import STACKS_DIR, settings_from_file, settings_from_pulumi, stack_file, stacks
from infra.recording import record
from infra.settings.cluster import ClusterSettings, SystemNodes
from infra.settings.names import OWN_OBJECTS, check_stack_name
from infra.settings.schema import schema
from infra.settings.serving import ServingSettings
from sizing.catalogue.files import serving_facts
from sizing.errors import BadInput

SERVING = """\
config:
  aws:region: us-east-1
  tonnage:layer: serving
  tonnage:models:
    - name: chat
      model: meta-llama/Llama-3.1-8B-Instruct
      workload: {requestsPerSecond: 2, inputTokens: 900, outputTokens: 250}
      objectives: {ttftP95Ms: 1500}
  tonnage:budget: {monthlyUsd: 6000}
  tonnage:runtime: {imageDigest: "sha256:0000000000000000000000000000000000000000000000000000000000000000"}
"""
CLUSTER = """\
config:
  aws:region: us-east-1
  tonnage:layer: cluster
  tonnage:zones: 2
  tonnage:adminRoleArns: [arn:aws:iam::123456789012:role/platform-admin]
"""


def refusal(folder: Path, text: str, name: str = "dev") -> str:
    """Return the one line with which a stack file is refused, without its first part (the file)."""
    (folder / "stacks").mkdir(exist_ok=True)
    path = folder / "stacks" / f"Pulumi.{name}.yaml"
    path.write_text(text)
    with pytest.raises(BadInput) as error:
        settings_from_file(path)
    line = error.value.line()
    assert error.value.exit_code == 2
    assert "\n" not in line
    assert line.startswith(f"stacks/Pulumi.{name}.yaml: ")
    return line.removeprefix(f"stacks/Pulumi.{name}.yaml: ")


def test_flow_logs_are_kept_for_a_term_that_cloudwatch_has(tmp_path):
    told = refusal(tmp_path, CLUSTER + "  tonnage:flowLogDays: 31\n")
    assert told.startswith("tonnage:flowLogDays: 31 days is no term of CloudWatch Logs; limit: 0 or 1, 3, 5, 7, 14, 30")


@pytest.mark.parametrize("version", ["0.14.0", "0.8.5"])
def test_an_engine_that_is_known_to_be_unsafe_is_refused_and_the_least_safe_one_is_not(tmp_path, version):
    text = SERVING.replace("1500}\n", f"1500}}\n      engine: {{vllmVersion: {version}}}\n")
    told = refusal(tmp_path, text)
    assert told.startswith(f"tonnage:models[0].engine.vllmVersion: {version} is not safe: CVE-2026-22778: ")
    assert "; limit: 0.14.1 or later; hint: leave the key out" in told
    path = tmp_path / "stacks" / "Pulumi.dev.yaml"
    path.write_text(text.replace(version, "0.14.1"))
    assert settings_from_file(path).models[0].engine.vllm_version == "0.14.1"


@pytest.mark.parametrize("stack", stacks())
def test_the_shipped_stack_files_are_valid_and_match_the_schema(stack):
    path = stack_file(stack)
    settings_from_file(path)
    jsonschema.validate(yaml.safe_load(path.read_text()), schema())
    assert path.read_text().startswith("# yaml-language-server: $schema=settings.schema.json\n")


def test_the_committed_schema_is_generated_from_the_models():
    want = json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
    assert (STACKS_DIR / "settings.schema.json").read_text() == want, "run `make docs`"


def test_four_stacks_are_shipped():
    assert {"dev", "dev-cluster", "prod", "prod-cluster"} <= set(stacks())


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            "requestsPerSecond: 2",
            "requestPerSecond: 2",
            "tonnage:models[0].workload.requestPerSecond: unknown key; hint: did you mean requestsPerSecond?",
        ),
        (
            "tonnage:budget:",
            "tonnage:bugdet:",
            "tonnage:bugdet: unknown key; hint: did you mean tonnage:budget?",
        ),
        ("tonnage:budget:", "budgets:", "tonnage:budgets: unknown key; hint: did you mean tonnage:budget?"),
        ("tonnage:layer", "tonage:layer", "tonnage:layer: missing; limit: cluster or serving"),
        ("layer: serving", "layer: servign", "tonnage:layer: 'servign' is not a layer; limit: cluster or serving"),
        (
            "aws:region: us-east-1",
            "tonnage:region: us-east-1",
            "tonnage:region: unknown key; hint: did you mean aws:region?",
        ),
        *(
            (
                "      workload:",
                f"      revision: {revision}\n      workload:",
                (
                    f"tonnage:models[0].revision: '{revision}' does not have the form needed; limit: a commit, 40 "
                    "lower-case hex digits, found with git ls-remote https://huggingface.co/<model> HEAD"
                ),
            )
            for revision in (
                "main",
                "v1.0",
                "0e9e39f",
                "0E9E39F249A16976918F6564B8830BC894C89659",
                "0" * 39 + "g",
                "a" * 41,
            )
        ),
        (
            "inputTokens: 900, ",
            "",
            "tonnage:models[0].workload.inputTokens: missing; hint: it is required: mean prompt tokens of a request",
        ),
        (
            "ttftP95Ms: 1500",
            "ttftP95Ms: 1500ms",
            (
                "tonnage:models[0].objectives.ttftP95Ms: '1500ms' is not a number; "
                "hint: write 1500 without unit; the key names the unit"
            ),
        ),
        (
            "monthlyUsd: 6000",
            "monthlyUsd: $6000",
            "tonnage:budget.monthlyUsd: '$6000' is not a number; hint: write 6000 without unit; the key names the unit",
        ),
        (
            "inputTokens: 900",
            'inputTokens: "900"',
            "tonnage:models[0].workload.inputTokens: '900' is not a whole number; hint: write 900 without quotes",
        ),
        (
            "inputTokens: 900",
            "inputTokens: 900.5",
            "tonnage:models[0].workload.inputTokens: 900.5 is not a whole number; hint: write a whole number",
        ),
        (
            "requestsPerSecond: 2",
            "requestsPerSecond: -2",
            "tonnage:models[0].workload.requestsPerSecond: -2 is not usable; limit: greater than or equal to 0.000001",
        ),
        (
            "requestsPerSecond: 2",
            "requestsPerSecond: 1.0e+30",
            "tonnage:models[0].workload.requestsPerSecond: 1e+30 is not usable; limit: less than or equal to 100000",
        ),
        (
            "requestsPerSecond: 2",
            "requestsPerSecond: .nan",
            "tonnage:models[0].workload.requestsPerSecond: NaN is not usable; limit: a finite number",
        ),
        (
            "name: chat",
            "name: Chat_1",
            (
                "tonnage:models[0].name: 'Chat_1' does not have the form needed; "
                "limit: a Kubernetes name: lower-case letters, digits and -, from a letter, at most 40 characters"
            ),
        ),
        ("aws:region: us-east-1", "aws:region: us-eest-1", "aws:region: 'us-eest-1' has no prices in the catalogue"),
        ("Llama-3.1-8B-Instruct", "Llama-3.1-8B-Instruc", "tonnage:models[0].model: 'meta-llama/Llama-3.1-8B-Instruc'"),
        (
            "objectives: {ttftP95Ms: 1500}",
            "engine: {gpu: A10H}",
            "tonnage:models[0].engine.gpu: 'A10H' is unknown",
        ),
        (
            'imageDigest: "sha256:00',
            'imageDigest: "sha512:00',
            "tonnage:runtime.imageDigest: 'sha512:",
        ),
    ],
)
def test_bad_input_is_one_line_with_file_key_value_reason_and_way_out(tmp_path, old, new, line):
    assert old in SERVING
    assert refusal(tmp_path, SERVING.replace(old, new)).startswith(line)


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("  tonnage:zones: many\n", "tonnage:zones: 'many' is not a whole number; hint: write a whole number"),
        ("  tonnage:zones: 9\n", "tonnage:zones: 9 is not usable; limit: less than or equal to 5"),
        ("  tonnage:publicAccessCidrs: [0.0.0.0/0]\n", "tonnage:publicAccessCidrs: 0.0.0.0/0 opens the Kubernetes API"),
        ("  tonnage:cidr: 10.40.0.0/99\n", "tonnage:cidr: '10.40.0.0/99' does not appear to be"),
        ("  tonnage:kubernetesVersion: latest\n", "tonnage:kubernetesVersion: 'latest' does not have the form needed"),
        ("  tonnage:adminRoleArns: root\n", "tonnage:adminRoleArns: 'root' is not a list; hint: write a list"),
        (
            "  tonnage:systemNodes: {instanceType: m7i.huge}\n",
            "tonnage:systemNodes.instanceType: 'm7i.huge' is unknown",
        ),
        ("  aws:profile: me\n", "aws:profile: unknown key; hint: "),
        ("  tonnage:zoneIds: [use1-az1]\n", "tonnage:zoneIds: a list of 1 is not usable; limit: at least 2 items"),
        ("  tonnage:interfaceEndpoints: [x y]\n", "tonnage:interfaceEndpoints[0]: 'x y' does not have the form needed"),
    ],
)
def test_bad_cluster_settings_are_refused(tmp_path, more, line):
    key = more.split(":")[1]
    kept = "".join(text for text in CLUSTER.splitlines(keepends=True) if f"tonnage:{key}:" not in text)
    assert refusal(tmp_path, kept + more).startswith(line)


def test_two_models_of_one_name_are_refused(tmp_path):
    document = yaml.safe_load(SERVING)
    document["config"]["tonnage:models"] *= 2
    assert (
        refusal(tmp_path, yaml.safe_dump(document))
        == "tonnage:models: two models are named 'chat'; give each its own name"
    )


def test_a_model_that_sleeps_beside_a_floor_that_never_does_is_refused(tmp_path):
    asleep = SERVING.replace("      workload:", "      scaleToZero: true\n      replicas: {floor: 1}\n      workload:")
    assert refusal(tmp_path, asleep) == (
        "tonnage:models[0]: scaleToZero is true beside replicas.floor 1, which never sleeps; "
        "limit: floor 0; hint: leave out one of the two"
    )


CLUSTER_NAMESPACES = "default, envoy-gateway-system, external-secrets, keda, monitoring, nvidia-device-plugin"


@pytest.mark.parametrize("name", ["kube-system", "kube-public", "kube-node-lease", *CLUSTER_NAMESPACES.split(", ")])
def test_a_namespace_of_the_cluster_is_refused_for_the_models(tmp_path, name):
    assert refusal(tmp_path, SERVING + f"  tonnage:namespace: {name}\n") == (
        f"tonnage:namespace: '{name}' is a namespace of the cluster, which this stack would own and on destroy delete; "
        f"limit: not kube-..., {CLUSTER_NAMESPACES}; hint: choose another, or leave the key out"
    )


@pytest.mark.parametrize("name", OWN_OBJECTS)
def test_a_model_named_like_an_object_beside_it_is_refused(tmp_path, name):
    own = (
        "default, default-deny, gpus, model-hub, model-ingest, qdrant, qdrant-api-key, vectors, vectors-peers, "
        "vectors-restore, vectors-snapshot"
    )
    assert refusal(tmp_path, SERVING.replace("name: chat", f"name: {name}")) == (
        f"tonnage:models[0].name: '{name}' is the name of another object in the models' namespace; "
        f"limit: not {own}; hint: choose another, for example {name}-model"
    )


SECRET, CERTIFICATE = "secretsmanager:{}:123456789012:secret:tonnage/dev/key", "acm:{}:123456789012:certificate/1a2b"


@pytest.mark.parametrize(
    ("key", "text", "resource"),
    [
        ("hubSecretArn", "  tonnage:hubSecretArn: {}\n", SECRET),
        ("gateway.apiKeysSecretArn", "  tonnage:gateway: {{apiKeysSecretArn: '{}'}}\n", SECRET),
        ("gateway.certificateArn", "  tonnage:gateway: {{certificateArn: '{}'}}\n", CERTIFICATE),
    ],
)
def test_a_secret_or_certificate_of_another_region_is_refused(tmp_path, key, text, resource):
    here, there = (text.format("arn:aws:" + resource.format(region)) for region in ("us-east-1", "eu-west-1"))
    assert refusal(tmp_path, SERVING + there) == (
        f"tonnage:{key}: is in eu-west-1, where this stack does not look; limit: aws:region us-east-1; "
        "hint: make one in us-east-1 and give its ARN"
    )
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text(SERVING + here)
    settings_from_file(path)


def test_a_zone_of_another_region_is_refused(tmp_path):
    text = CLUSTER + "  tonnage:zoneIds: [use1-az1, use2-az1]\n"
    assert refusal(tmp_path, text) == (
        "tonnage:zoneIds[1]: 'use2-az1' is not a zone of us-east-1; limit: ids that start with use1-az; "
        "hint: name zones of aws:region us-east-1"
    )
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text(text.replace("use2-az1", "use1-az9"))
    settings_from_file(path)


def test_a_secret_in_the_typed_document_is_refused_with_the_way_out(tmp_path):
    text = SERVING + "  tonnage:hubSecretArn: {secure: AAABAexample}\n"
    line = refusal(tmp_path, text)
    assert line.startswith("tonnage:hubSecretArn: holds a secret")
    assert "Secrets Manager" in line
    assert "AAABAexample" not in line


def test_yaml_that_does_not_parse_is_refused_with_file_and_line(tmp_path):
    line = refusal(tmp_path, "config:\n  tonnage:models: [\n  a: b: c\n")
    assert line.startswith("line 3, column ")


def test_a_key_that_stands_twice_is_refused_and_not_silently_the_last(tmp_path):
    line = refusal(tmp_path, CLUSTER + "  tonnage:zones: 3\n")
    assert line.startswith("line 6, column 3: not YAML: key 'tonnage:zones' stands twice")


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("2026-02-30", "line 6, column 20: not YAML: '2026-02-30' is no timestamp; hint: check"),
        ("!!bool x", "line 6, column 20: not YAML: 'x' is no bool; hint: check"),
        ("!!int x", "line 6, column 20: not YAML: 'x' is no int; hint: check"),
        ("9" * 5000, f"line 6, column 20: not YAML: '{'9' * 57}...' is no int; hint: check"),
        ("{? [a] : 1}", "line 6, column 23: not YAML: found unhashable key; hint: check"),
        ("&a [*a]", "is nested too deeply, or contains itself; hint: write each value out, without & and *"),
        (f"'{'[' * 9000}'", "tonnage:protect: '[[[[[[[[[["),
        (f"'{'9' * 5000}'", "tonnage:protect: '999999999"),
        ("{2026-01-01: 1}", "tonnage:protect: {datetime.date(2026, 1, 1): 1} is not plain data; hint: quote dates"),
        ('"\\u202e\\ud800"', r"tonnage:protect: '\u202e\ud800' is not usable; limit: boolean"),
    ],
)
def test_what_yaml_has_and_no_setting_can_be_is_refused_in_one_line_that_prints(tmp_path, value, line):
    found = refusal(tmp_path, f"{CLUSTER}  tonnage:protect: {value}\n")
    assert found.startswith(line)
    assert found.isprintable()
    assert len(found) < 200


@pytest.mark.parametrize(
    ("stack", "cluster", "refused"),
    [
        ("prod-eu-2-cluster", True, False), (f"{'x' * 27}-cluster", True, False), (f"{'x' * 28}-cluster", True, True),
        ("x" * 40, False, False), ("x" * 41, False, True), ("0", False, False),
        *((name, False, True) for name in ("Team", "team_2", "team.eu", "téam", "-a", "a-", "a--b", "a\n", "")),
    ],
)  # fmt: skip
def test_a_stack_whose_name_no_name_in_aws_can_hold_is_refused(stack, cluster, refused):
    if not refused:
        check_stack_name(stack, cluster=cluster)
        return
    with pytest.raises(BadInput, match="cannot be part of names in AWS; limit: lower-case letters, digits and single"):
        check_stack_name(stack, cluster=cluster)


@pytest.mark.parametrize("text", ["", "- a\n", "config: 3\n"])
def test_a_file_without_settings_is_refused(tmp_path, text):
    assert "config" in refusal(tmp_path, text)


def test_a_stack_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(
        BadInput, match=r"'prd' does not exist .* did you mean prod\? there are: dev, dev-cluster, prod"
    ):
        stack_file("prd")


def test_a_stack_name_cannot_leave_the_folder():
    with pytest.raises(BadInput, match="does not exist"):
        stack_file("../stacks/dev")


@pytest.mark.parametrize("text", [SERVING, CLUSTER])
def test_file_and_engine_give_the_same_settings(tmp_path, text):
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text(text)
    seen = []
    # The engine hands over text: scalars as they are, objects as JSON.
    config = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in yaml.safe_load(text)["config"].items()
    }

    def program() -> None:
        seen.append(settings_from_pulumi())

    record(program, stack="dev", config=config)
    assert seen == [settings_from_file(path)]


def test_the_engine_way_names_the_stack_file_and_refuses_encrypted_values():
    def program() -> None:
        settings_from_pulumi()

    config = {"tonnage:layer": "serving", "tonnage:budget": '{"monthlyUsd": 1}'}
    with pytest.raises(BadInput, match=r"^stacks/Pulumi\.dev\.yaml: tonnage:budget: holds a secret"):
        record(program, stack="dev", config=config, secret_keys=("tonnage:budget",))
    with pytest.raises(BadInput, match=r"^stacks/Pulumi\.dev\.yaml: aws:region: missing"):
        record(program, stack="dev", config=config)


def test_a_model_of_five_lines_is_enough(tmp_path):
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text(SERVING)
    settings = settings_from_file(path)
    assert isinstance(settings, ServingSettings)
    assert settings.models[0].objectives.tpot_p95_ms == 80


def test_the_cluster_layer_has_safe_defaults(tmp_path):
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text(CLUSTER)
    settings = settings_from_file(path)
    assert isinstance(settings, ClusterSettings)
    assert settings.public_access_cidrs == ()


def test_the_cluster_that_a_plan_counts_beside_it_is_the_one_that_stack_files_default_to() -> None:
    facts, nodes = serving_facts("cluster"), SystemNodes()
    settings = ClusterSettings(
        layer="cluster", region="us-east-1", admin_role_arns=("arn:aws:iam::123456789012:role/x",)
    )
    assert facts["zones"] == settings.zones
    assert facts["nat_gateways"] == (settings.zones if settings.nat_per_zone else 1)
    assert facts["interface_endpoints"] == len(settings.interface_endpoints)
    assert (facts["system_instance_type"], facts["system_nodes"]) == (nodes.instance_type, nodes.count)
    assert facts["system_disk_gib"] == nodes.disk_gib
