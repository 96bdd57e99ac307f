"""What is planned can be ingested: a checkpoint has a commit and weights that can be streamed, or it is said."""

from __future__ import annotations

import re

import pytest

from sizing.catalogue import load_catalogue
from sizing.inputs import Budget, Capacity, ModelEntry
from sizing.models.from_config import model_from_config
from sizing.planning.planner import plan_model, plan_stack
from sizing.planning.search.options import Market
from sizing.serving.weights import ingest_problems
from sizing.workload.workload import Workload
from tests.support.plans import plan_request

CATALOGUE = load_catalogue()
PINNED, MOVING, WITHOUT = "Qwen/Qwen3-32B", "nvidia/Gemma-4-31B-IT-NVFP4", "BAAI/bge-m3"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
WITHOUT_COMMIT = (
    "MiniMaxAI/MiniMax-M2.5",
    "Qwen/Qwen2-VL-7B-Instruct",
    "Qwen/Qwen3-VL-30B-A3B-Instruct",
    "Qwen/Qwen3.5-397B-A17B",
    "RedHatAI/Meta-Llama-3.1-70B-Instruct-FP8",
    "RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8",
    "deepseek-ai/DeepSeek-V3",
    "deepseek-ai/DeepSeek-V3.2",
    "google/gemma-4-26B-A4B",
    "meta-llama/Llama-4-Scout-17B-16E-Instruct",
    "moonshotai/Kimi-K2-Instruct",
    "moonshotai/Kimi-Linear-48B-A3B-Instruct",
    "nvidia/Gemma-4-31B-IT-NVFP4",
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
    "nvidia/Nemotron-H-56B-Base-8K",
    "rednote-hilab/dots.ocr",
    "zai-org/GLM-5-FP8",
)
WITHOUT_SAFETENSORS = ("BAAI/bge-m3",)


def entry(model: str, **more: object) -> ModelEntry:
    return ModelEntry(
        name="served",
        model=model,
        workload=Workload(requests_per_second=4, input_tokens=900, output_tokens=250),
        **more,
    )


def test_the_models_of_the_catalogue_that_the_ingest_would_refuse_are_these() -> None:
    problems = {name: ingest_problems(entry(name), CATALOGUE) for name in CATALOGUE.models}
    found = {word: tuple(n for n, lines in problems.items() if any(word in one for one in lines)) for word in
             ("has no pinned commit", "has no .safetensors")}  # fmt: skip
    assert found == {"has no pinned commit": WITHOUT_COMMIT, "has no .safetensors": WITHOUT_SAFETENSORS}
    assert sum(map(len, problems.values())) == len(WITHOUT_COMMIT) + len(WITHOUT_SAFETENSORS)


def test_what_the_catalogue_says_of_weights_has_a_source() -> None:
    for name in CATALOGUE.models:
        document = CATALOGUE.model_document(name)
        assert ("safetensors" in document) is bool(re.match("https://", document.get("safetensors_source", ""))), name


@pytest.mark.parametrize(
    ("model", "line"),
    [
        (
            "gemma-4-31b-it-nvfp4",
            (
                f"model {MOVING} has no pinned commit in the catalogue; state `revision:` (40 hex digits) in the "
                f"entry; find it with: git ls-remote https://huggingface.co/{MOVING} HEAD"
            ),
        ),
        (
            "bge-m3",
            (
                f"model {WITHOUT} has no .safetensors at its commit in the catalogue; state `revision:` of one that "
                f"has, such as a conversion's; find it with: git ls-remote https://huggingface.co/{WITHOUT} 'refs/pr/*'"
            ),
        ),
    ],
)
def test_a_problem_says_what_to_state_and_how_to_find_it_and_a_stated_commit_solves_it(model: str, line: str) -> None:
    assert ingest_problems(entry(model), CATALOGUE) == (line,)
    assert ingest_problems(entry(model, revision=COMMIT), CATALOGUE) == ()


def test_stating_the_commit_that_is_known_to_lack_weights_solves_nothing() -> None:
    (line,) = ingest_problems(entry(WITHOUT, revision=CATALOGUE.model(WITHOUT).revision), CATALOGUE)
    assert "has no .safetensors" in line


def test_a_stated_revision_says_nothing_about_a_variant() -> None:
    one = entry("meta-llama/Llama-3.1-8B-Instruct", revision=COMMIT, allowed_variants=(WITHOUT_COMMIT[5],))
    (line,) = ingest_problems(one, CATALOGUE)
    assert line.startswith(f"model {WITHOUT_COMMIT[5]} has no pinned commit in the catalogue; ")
    assert line.endswith("HEAD, as the entry's model: that of a variant is the catalogue's")
    assert ingest_problems(one, CATALOGUE, only=one.model) == ()
    assert ingest_problems(one, CATALOGUE, only=WITHOUT_COMMIT[5]) == (line,)


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


def test_of_a_plan_only_the_checkpoint_that_was_chosen_is_asked_for() -> None:
    def problems(one: ModelEntry) -> tuple[str, ...]:
        plan = plan_stack(plan_request([one], capacity=Capacity(zones=1, gpus=("L4",)), budget=Budget(monthly_usd=1e6)))
        return ingest_problems(one, CATALOGUE, only=plan.models[0].model)

    small, variant = "meta-llama/Llama-3.1-8B-Instruct", "RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8"
    assert problems(entry(small)) == ()
    (line,) = problems(entry(variant))
    assert line.startswith(f"model {variant} has no pinned commit in the catalogue")
    (line,) = problems(entry(small, revision=COMMIT, allowed_variants=(variant,)))
    assert line.endswith("HEAD, as the entry's model: that of a variant is the catalogue's")
