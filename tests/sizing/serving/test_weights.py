"""What is planned can be ingested: a checkpoint has a commit and weights that can be streamed, or it is said."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from sizing.catalogue import load_catalogue
from sizing.engine.settings import resolve_engine
from sizing.inputs import Budget, Capacity, EngineOverrides, ModelEntry
from sizing.models.from_config import model_from_config
from sizing.plan import EngineSettings
from sizing.planning.planner import plan_model, plan_stack
from sizing.planning.search.options import Market
from sizing.serving.lifecycle import start_up
from sizing.serving.weights import ingest_problems, reads_once
from sizing.workload.workload import Workload
from tests.support.plans import plan_request

CATALOGUE = load_catalogue()
PINNED, MOVING, WITHOUT = "Qwen/Qwen3-32B", "nvidia/Nemotron-H-56B-Base-8K", "BAAI/bge-m3"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
WITHOUT_COMMIT = ("RedHatAI/Meta-Llama-3.1-70B-Instruct-FP8", "nvidia/Nemotron-H-56B-Base-8K")
VARIANT = WITHOUT_COMMIT[0]
LLAMA = "meta-llama/Llama-3.1-70B-Instruct"
HEAD_OF_WITHOUT = "5617a9f61b028005a4858fdac845db406aefb181"


def entry(model: str, **more: object) -> ModelEntry:
    return ModelEntry(
        name="served",
        model=model,
        workload=Workload(requests_per_second=4, input_tokens=900, output_tokens=250),
        **more,
    )


def test_the_ingest_takes_every_model_of_the_catalogue_but_these_two_which_say_what_they_need() -> None:
    problems = {name: lines for name in CATALOGUE.models if (lines := ingest_problems(entry(name), CATALOGUE))}
    assert problems == {name: (needs_commit(name),) for name in WITHOUT_COMMIT}


def needs_commit(name: str) -> str:
    way_out = "state `revision:` (40 hex digits) in the entry; find it with: git ls-remote https://huggingface.co"
    return f"model {name} has no pinned commit in the catalogue; {way_out}/{name} HEAD"


def test_what_the_catalogue_says_of_commits_and_weights_has_a_source() -> None:
    for name in CATALOGUE.models:
        document = CATALOGUE.model_document(name)
        without = document.get("revisions_without_safetensors", ())
        assert bool(without) is bool(re.match("https://", document.get("safetensors_source", ""))), name
        assert document["revision_source"], name
        assert document["revision"] not in without, name


def test_a_problem_says_what_to_state_and_how_to_find_it_and_a_stated_commit_solves_it() -> None:
    assert ingest_problems(entry("nemotron-h-56b-base-8k"), CATALOGUE) == (needs_commit(MOVING),)
    assert ingest_problems(entry(MOVING, revision=COMMIT), CATALOGUE) == ()


def test_a_stated_commit_that_is_known_to_hold_no_safetensors_is_no_way_out() -> None:
    line = f"model {WITHOUT} has no .safetensors at {HEAD_OF_WITHOUT}; leave `revision:` out"
    assert ingest_problems(entry(WITHOUT, revision=HEAD_OF_WITHOUT), CATALOGUE) == (line,)
    assert ingest_problems(entry(WITHOUT, revision=COMMIT), CATALOGUE) == ()


def test_a_stated_revision_says_nothing_about_a_variant() -> None:
    one = entry("meta-llama/Llama-3.1-70B-Instruct", revision=COMMIT, allowed_variants=(VARIANT,))
    (line,) = ingest_problems(one, CATALOGUE)
    assert line.startswith(f"model {VARIANT} has no pinned commit in the catalogue; ")
    assert line.endswith("HEAD, as the entry's model: that of a variant is the catalogue's")
    assert ingest_problems(one, CATALOGUE, only=one.model) == ()
    assert ingest_problems(one, CATALOGUE, only=VARIANT) == (line,)


def test_a_model_that_the_user_brings_needs_a_commit_and_nothing_else() -> None:
    config = CATALOGUE.model_document(PINNED)["config"]
    brought, pinned = (
        CATALOGUE.with_model(model_from_config(config, name="me/mine", revision=revision)) for revision in ("", COMMIT)
    )
    assert ingest_problems(entry("me/mine"), brought)[0].startswith("model me/mine has no pinned commit")
    assert ingest_problems(entry("me/mine", revision=COMMIT), brought) == ()
    assert ingest_problems(entry("me/mine"), pinned) == ()


@pytest.mark.parametrize(("variants", "revision"), [((), COMMIT), (("Qwen/Qwen3-32B-FP8",), None)])
def test_the_stated_revision_is_that_of_the_entrys_model_and_never_of_a_variant(
    variants: tuple[str, ...], revision: str | None
) -> None:
    market = Market(capacity=Capacity(zones=1, gpus=("L40S",)), region="us-east-1", catalogue=CATALOGUE)
    chosen = plan_model(entry(PINNED, revision=COMMIT, allowed_variants=variants), market).chosen
    assert chosen.model == (variants[0] if variants else PINNED)
    assert chosen.revision == (revision or CATALOGUE.model(chosen.model).revision)


def test_only_what_is_known_to_survive_it_is_read_once_by_ranks_that_pass_it_on() -> None:
    def once(name: str, gpus: int = 4, **more: bool) -> bool:
        return reads_once(CATALOGUE.model(name), engine_on(name, gpus, **more))

    assert {CATALOGUE.model(name).architecture for name in CATALOGUE.models if once(name)} == {"LlamaForCausalLM"}
    assert not once(LLAMA, 1)
    assert not once(LLAMA, enforce_eager=True)


def test_ranks_that_each_read_all_share_the_line_and_none_reads_faster_than_one_reader() -> None:
    def seconds(name: str, gpus: int, machine: str) -> float:
        return start_up(
            CATALOGUE.model(name), engine_on(name, gpus), CATALOGUE.instance(machine), 10**11
        ).weights_load_s

    narrow, wide = "g6.12xlarge", "p5.48xlarge"
    line = CATALOGUE.instance(narrow).network_gbps / 8 * 0.83
    assert seconds(LLAMA, 4, narrow) == seconds(PINNED, 1, narrow) == pytest.approx(100 / 2.9, abs=0.05)
    assert seconds(PINNED, 4, narrow) == pytest.approx(4 * 100 / line, abs=0.05)
    assert seconds(PINNED, 4, wide) == seconds(LLAMA, 4, wide) == pytest.approx(100 / 2.9, abs=0.05)


def engine_on(name: str, gpus: int, **more: bool) -> EngineSettings:
    """Return a replica's settings; what model and GPU allow plays no part in how weights are read."""
    model, h100 = CATALOGUE.model(name), CATALOGUE.gpu("H100")
    one = resolve_engine(model, h100, EngineOverrides(**more), tensor_parallel=1, pipeline_parallel=1)
    return replace(one, tensor_parallel=gpus)


def test_of_a_plan_only_the_checkpoint_that_was_chosen_is_asked_for() -> None:
    def problems(one: ModelEntry) -> tuple[str, ...]:
        capacity, budget = Capacity(zones=1, gpus=("H100",)), Budget(monthly_usd=1e6)
        plan = plan_stack(plan_request([one], capacity=capacity, budget=budget))
        return ingest_problems(one, CATALOGUE, only=plan.models[0].model)

    large = "meta-llama/Llama-3.1-70B-Instruct"
    assert problems(entry(large)) == ()
    (line,) = problems(entry(VARIANT))
    assert line.startswith(f"model {VARIANT} has no pinned commit in the catalogue")
    (line,) = problems(entry(large, revision=COMMIT, allowed_variants=(VARIANT,)))
    assert line.endswith("HEAD, as the entry's model: that of a variant is the catalogue's")
