"""A trace of a stack file: read where settings are read, the same for file and engine, refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from infra.config import settings_from_file, settings_from_pulumi
from infra.recording import record
from infra.settings.schema import schema
from infra.settings.serving import ServingSettings
from sizing.errors import BadInput
from sizing.workload.workload import Workload

STACK = """\
config:
  aws:region: us-east-1
  tonnage:layer: serving
  tonnage:models:
    - name: chat
      model: meta-llama/Llama-3.1-8B-Instruct
      workload: {trace: traffic.csv, outputTokens: 250}
  tonnage:budget: {monthlyUsd: 6000}
  tonnage:runtime: {imageDigest: "sha256:0000000000000000000000000000000000000000000000000000000000000000"}
"""
ROWS = "arrival_s,input_tokens,output_tokens\n" + "".join(f"{n / 2},{800 + n},40\n" for n in range(201))


def stack(folder: Path, rows: str | None = ROWS, text: str = STACK) -> Path:
    if rows is not None:
        (folder / "traffic.csv").write_text(rows)
    path = folder / "Pulumi.dev.yaml"
    path.write_text(text)
    return path


def workload(path: Path) -> Workload:
    settings = settings_from_file(path)
    assert isinstance(settings, ServingSettings)
    return settings.models[0].workload


def test_a_trace_tells_what_is_not_stated_beside_it(tmp_path):
    load = workload(stack(tmp_path))
    assert (load.requests_per_second, load.input_tokens, load.output_tokens) == (2.0, 900, 250)
    assert (load.input_tokens_p95, load.output_tokens_p95, load.daily_shape) == (990, None, None)
    assert load.trace is not None
    assert load.trace.keys == ("burstiness", "inputTokens", "inputTokensP95", "requestsPerSecond")
    jsonschema.validate(yaml.safe_load(STACK), schema())


def test_file_and_engine_read_the_same_trace(tmp_path):
    path, seen = stack(tmp_path), []
    config = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in yaml.safe_load(STACK)["config"].items()
    }
    record(lambda: seen.append(settings_from_pulumi(tmp_path)), stack="dev", config=config)
    assert seen == [settings_from_file(path)]


@pytest.mark.parametrize(
    ("rows", "text", "words"),
    [
        (None, STACK, "traffic.csv: is not a file"),
        (ROWS.replace("45.0,", "half past,"), STACK, "traffic.csv line 92: arrival_s 'half past' is not a time"),
        (ROWS, STACK.replace("traffic.csv", "[1]"), "'[1]' is no file name"),
        (ROWS, STACK.replace("traffic.csv", "."), ".: is not a file"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(tmp_path, rows, text, words):
    with pytest.raises(BadInput) as refused:
        settings_from_file(stack(tmp_path, rows, text))
    line = refused.value.line()
    assert f"tonnage:models[0].workload.trace: {words}" in line
    assert "\n" not in line
    assert str(tmp_path) not in line


def test_a_file_beyond_the_limit_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("infra.traces.MOST_BYTES", 100)
    with pytest.raises(BadInput, match=r"traffic\.csv: is too large"):
        settings_from_file(stack(tmp_path))


def test_a_trace_that_tells_more_than_a_workload_may_hold_names_its_key(tmp_path):
    with pytest.raises(BadInput, match="burstiness"):
        settings_from_file(stack(tmp_path, text=STACK.replace("outputTokens: 250", "outputTokens: 250, burstiness: 0")))
