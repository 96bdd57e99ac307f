"""``tonnage preview`` over the shipped stacks: contract keys, formats, differences, pages, exit codes."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from cli.verbs import preview as verb
from tests.cli.conftest import Tonnage
from tools.generators.picture import PICTURE, draw

ROOT = Path(__file__).resolve().parents[2]
NEEDLESS = (
    "boto3", "kubernetes", "matplotlib", "policies.__main__", "pulumi_aws.ec2.instance", "pulumi_aws.s3.access_point",
    "pulumi_kubernetes.core.v1.Pod", "pulumi_kubernetes.yaml.yaml", "pulumi_policy", "requests", "rich.progress",
)  # fmt: skip
"""What takes long to import and a preview as JSON has no use for."""


@pytest.fixture(scope="module")
def prod() -> dict[str, object]:
    return verb.preview_document("prod", ROOT / "stacks")


@pytest.fixture
def as_prod(prod: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the program, which other tests run: the verb gets the document of prod."""
    monkeypatch.setattr(verb, "preview_document", lambda stack, folder: copy.deepcopy(prod))


def test_prod_has_the_keys_of_the_contract_and_at_least_sixty_resources(prod: dict[str, object]) -> None:
    keys = {"stack", "models", "pools", "burn", "budget", "resources", "policies", "difference"}
    assert keys <= prod.keys()
    assert len([one for one in prod["resources"] if not one["component"]]) >= 60
    assert all(verdict["passed"] for verdict in prod["policies"])


def test_prod_previews_without_home_network_credentials_and_needless_imports_in_the_same_bytes(
    prod: dict[str, object],
) -> None:
    program = (
        "import socket, sys\n"
        "def refuse(*_, **__): raise AssertionError('network')\n"
        "socket.getaddrinfo = refuse\n"
        "from cli.__main__ import run\n"
        "code = run(['preview', 'prod', '--format', 'json'])\n"
        f"needless = sorted(set({NEEDLESS}) & set(sys.modules))\n"
        "raise SystemExit(code or ' '.join(needless) or 0)"
    )
    environment = {"PATH": "", "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment, cwd="/"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == prod


@pytest.mark.usefixtures("as_prod")
@pytest.mark.parametrize("output_format", ["text", "markdown"])
def test_text_and_markdown_show_every_model_pool_and_verdict(
    tonnage: Tonnage, prod: dict[str, object], output_format: str
) -> None:
    called = tonnage("preview", "prod", "--format", output_format)
    names = [*(m["name"] for m in prod["models"]), *(p["name"] for p in prod["pools"])]
    assert [name for name in [*names, *(p["rule"] for p in prod["policies"])] if name not in called.out] == []
    assert called.code == 0


@pytest.mark.usefixtures("as_prod")
@pytest.mark.parametrize("output_format", ["text", "markdown", "html"])
def test_every_format_ends_with_what_must_be_settled_before_up(
    tonnage: Tonnage, prod: dict[str, object], tmp_path: Path, output_format: str
) -> None:
    page = tmp_path / "page.html"
    if output_format == "html":
        tonnage("preview", "prod", "--html", str(page))
        shown = unescape(page.read_text())
    else:
        shown = tonnage("preview", "prod", "--format", output_format).out
    last = "".join(shown.rpartition("Before you run up: 5 of 14 stop it")[2].split()).replace("'", "`")
    assert [step for step in prod["before_up"] if "".join(step["settle"].split()).replace("'", "`") not in last] == []
    assert [step["key"] for step in prod["before_up"] if step["key"] not in shown] == []
    assert "Why:" not in last


@pytest.mark.usefixtures("as_prod")
def test_against_an_earlier_preview_says_what_changed(
    tonnage: Tonnage, prod: dict[str, object], tmp_path: Path
) -> None:
    earlier = copy.deepcopy(prod)
    earlier["models"][0]["gpu"] = "T4"
    (tmp_path / "before.json").write_text(json.dumps(earlier))
    called = tonnage("preview", "prod", "--against", str(tmp_path / "before.json"), "--format", "json")
    gpu = prod["models"][0]["gpu"]
    assert called.document["difference"]["words"][0] == f"Model {prod['models'][0]['name']}: GPU T4 → {gpu}."


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"schema": 1}', '{"schema": 1, "resources": 3}'])
@pytest.mark.usefixtures("as_prod")
def test_an_earlier_file_that_is_no_preview_is_refused(tonnage: Tonnage, tmp_path: Path, content: str) -> None:
    (tmp_path / "before.json").write_text(content)
    called = tonnage("preview", "prod", "--against", str(tmp_path / "before.json"))
    assert called.line.startswith("--against: ")
    assert called.code == 2


@pytest.mark.parametrize("name", ["missing.json", ".", "/dev/zero"])
def test_an_earlier_file_that_cannot_be_read_is_refused(tonnage: Tonnage, tmp_path: Path, name: str) -> None:
    called = tonnage("preview", "prod", "--against", str(tmp_path / name))
    assert "is not a file" in called.line
    assert called.code == 2


@pytest.mark.usefixtures("as_prod")
def test_why_pools_gateway_vector_store_and_budget_are_so_is_in_markdown_and_on_the_page(
    tonnage: Tonnage, prod: dict[str, object], tmp_path: Path
) -> None:
    shown = tonnage("preview", "prod", "--format", "markdown", "--html", str(tmp_path / "page.html")).out
    page = (tmp_path / "page.html").read_text()
    bought = [pool["name"] for pool in prod["pools"] if pool["kind"] == "karpenter"]
    titles = [*bought, "gateway and quota", "vector store", "budget"]
    assert [name for name in titles if f"Why: {name}</summary>" not in shown] == []
    assert [name for name in titles if f"Why: {name}</summary>" not in page] == []
    for figure in (
        "consolidate after s",
        "requests per minute of chat",
        "snapshot days",
        "fast burn vcpus",
        "max skew",
    ):
        assert figure in shown
        assert figure in page


def test_every_decision_of_a_pool_and_of_the_gateway_is_explained_in_the_document(prod: dict[str, object]) -> None:
    pool = next(pool for pool in prod["pools"] if pool["kind"] == "karpenter")
    assert [figure["name"] for figure in pool["figures"]] == [
        "consolidate_after_s", "termination_s", "deletion_s", "expire_after_h", "weight",
    ]  # fmt: skip
    told = {figure["name"]: figure["value"] for figure in prod["figures"]}
    for route in prod["gateway"]["routes"]:
        for name in ("requests_per_minute", "parallel_requests", "retries"):
            assert told[f"{name} of {route['model']}"] == route[name]
    assert told["gpu_quota"] == sum(one["gpu_limit"] for one in prod["pools"])
    alarm = next(figure for figure in prod["budget"]["figures"] if figure["name"] == "fast_burn_vcpus")
    assert alarm["value"] == prod["budget"]["fast_burn_vcpus"]


@pytest.mark.usefixtures("as_prod")
def test_html_writes_one_page_and_the_format_still_goes_to_standard_output(tonnage: Tonnage, tmp_path: Path) -> None:
    called = tonnage("preview", "prod", "--html", str(tmp_path / "page.html"), "--format", "json")
    assert called.document["stack"] == "prod"
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.usefixtures("as_prod")
def test_a_page_that_cannot_be_written_is_one_line_and_leaves_nothing(tonnage: Tonnage, tmp_path: Path) -> None:
    called = tonnage("preview", "prod", "--html", str(tmp_path / "missing" / "page.html"))
    assert called.line.startswith("--html: cannot write ")
    assert called.code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_violated_policy_is_exit_3_and_still_shown(
    tonnage: Tonnage, prod: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    violated = copy.deepcopy(prod)
    violated["policies"][0] |= {"passed": False, "violations": [{"resource": "urn", "message": "too dear"}]}
    monkeypatch.setattr(verb, "preview_document", lambda stack, folder: violated)
    called = tonnage("preview", "prod")
    assert "too dear" in called.out
    assert called.code == 3


def _stacks(folder: Path, old: str, new: str) -> Path:
    copied = folder / "stacks"
    shutil.copytree(ROOT / "stacks", copied)
    file = copied / "Pulumi.dev.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    return copied


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tonnage:models", "tonnage:modles"),
        ("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-9"),
        ("us-east-1", "mars-north-1"),
        ("config:", "config: ["),
    ],
)
def test_a_broken_stack_file_is_one_line(
    tonnage: Tonnage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    monkeypatch.setenv("TONNAGE_STACKS", str(_stacks(tmp_path, old, new)))
    called = tonnage("preview", "dev")
    assert new.removeprefix("config: [") in called.line
    assert "Pulumi.dev.yaml" in called.line
    assert called.code == 2


def test_a_folder_of_stacks_that_does_not_exist_is_named(tonnage: Tonnage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TONNAGE_STACKS", "nowhere")
    called = tonnage("preview", "dev")
    assert called.line == "TONNAGE_STACKS: 'nowhere' is not a folder"


def test_the_project_around_the_working_folder_wins(
    tonnage: Tonnage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stacks").mkdir()
    (tmp_path / "deeper").mkdir()
    (tmp_path / "Pulumi.yaml").write_text("name: tonnage\n")
    monkeypatch.chdir(tmp_path / "deeper")
    assert "there are: none" in tonnage("preview", "dev").line


def test_prod_says_what_tokens_cost_what_spot_takes_and_what_the_floor_would_cost_otherwise(
    prod: dict[str, object],
) -> None:
    for model in prod["models"]:
        assert model.keys() >= {"usd_per_million_tokens", "spot", "hosted"}
        assert model["spot"]["replicas_at_least"] <= model["spot"]["replicas"]
        assert model["hosted"]["hosts"] == sorted(
            model["hosted"]["hosts"], key=lambda host: (host["usd_per_month"], host["host"])
        )
    terms = prod["purchase_terms"]
    floors = [pool for pool in prod["pools"] if pool["capacity_type"] == "on-demand" and pool["instances"]["floor"]]
    assert sum(terms["nodes"].values()) == sum(pool["instances"]["floor"] for pool in floors)
    assert terms["on_demand_usd_per_month"] == pytest.approx(
        sum(pool["usd_per_hour"]["floor"] for pool in floors) * 730, rel=1e-4
    )


def test_the_picture_in_the_readme_is_what_the_command_prints(
    prod: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.generators.picture.preview_document", lambda stack, folder: prod)
    assert 'url("http' not in draw(), "a picture loads no font from elsewhere"
    assert PICTURE.read_text(encoding="utf-8") == draw(), "run `make docs`"
