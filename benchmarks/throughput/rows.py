"""Published serving benchmarks as comparable cases: model, card, engine settings and the load of each row.

A row is left out, with the reason counted, when it does not state what a prediction needs (tensor parallelism,
lengths, load), when its card or its model is not described, when its source prints the very same figure for another
card (one of the two is a slip, and nothing says which), or when sizing refuses it. Lengths of ShareGPT runs
that print none are those of the runs that do (``SHAREGPT``).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from benchmarks.folders import DATA, ROOT
from sizing.catalogue import Gpu, load_catalogue
from sizing.engine.settings import resolve_engine
from sizing.errors import BadInput
from sizing.inputs import EngineOverrides
from sizing.memory.estimate import estimate_memory
from sizing.models.from_config import model_from_config
from sizing.models.spec import ModelSpec
from sizing.performance.replica import step_work
from sizing.performance.roofline import StepWork
from sizing.plan import EngineSettings, MemoryEstimate

SHORT_PROMPT_TOKENS = 40
"""Prompts of the varad-more source: 13 to 18 words (its notes), with the chat template about 40 tokens."""
SHAREGPT = (217, 202)
"""Mean prompt and output of the ShareGPT runs that print them (gpustack, vllm-project)."""
LONGEST_MEAN = 1000
"""Runs of fixed lengths in sources that print means have prompts from this length, or outputs of a few tokens."""
NODE_GPUS = 8
IDLE = {True: 0.4, False: 0.15}
"""Share by which requests in flight may differ from the stated number: where the run states how many requests it
served, its end is predicted; where it does not, nothing explains seats that stay empty."""
ALIKE_TOKENS = 100
"""Prompts of one sweep differ by less."""
LINK_GB_S = {"nvlink": 600.0, "pcie": 64.0}
"""Of cards that are sold with either link, where a row states the one that the catalogue does not: both are Ampere."""
WORKSTATION_GB_S = 1792.0
"""Memory of the RTX PRO 6000 Blackwell Workstation Edition by its data sheet; AWS rents the Server Edition."""
LOOKED_AT = frozenset({
    "Axionis47/vllm-benchmark", "FreedomIntelligence/AccelMark", "LambdaLabsML/vllm-benchmark",
    "ai-dynamo/aiconfigurator", "ai.wmx.dev", "akamaslabs/vllm-benchmark", "arc53/llm-price-compass",
    "argonne-lcf/LLM-Inference-Bench", "bereketlemma/llm-inference-bench", "cssnoeasy/a100-vllm-benchmark-blog",
    "dennislee22/vLLM-benchmarking", "fergusfinn/mps-embedding-inference", "gpustack/gpustack",
    "graz-dev/vllm-benchmark", "kubeai-project/kubeai", "maged-elhabiby/vllm-scaling-performance-evaluation",
    "ree2raz/inference-bench", "reindertpelsma/nvkvm-pv", "roy6n23/vllm-tp2-profiling", "sariekr/gpu_conc",
    "sequrity-ai/inference-benchmark", "varad-more/inference-engine-benchmark-system", "vllm-project/recipes",
    "vllm-project/vllm", "wzi690421-droid/qwen3-moe-2x3090-lab",
})  # fmt: skip
"""Sources whose errors were in view while terms changed. Who looks at the errors of another adds it here."""
MEASURES = ("output_tok_s", "tpot_ms", "ttft_ms")


@dataclass(frozen=True)
class Point:
    """One published measurement, with what the model needs to predict it."""

    id: str
    source: str
    tier: str
    model: ModelSpec
    gpu: Gpu
    engine: EngineSettings
    memory: MemoryEstimate
    work: StepWork
    concurrency: float
    """Requests in flight; of a burst, all of them."""
    burst: bool
    """All requests arrive at once and the run ends with the last."""
    prompts: float
    """Requests of the whole run; infinite where it is not stated."""
    varied: bool
    """Output lengths vary as in a corpus of conversations, instead of being all the same."""
    input_tokens: float
    output_tokens: float
    alike: bool
    """All requests have the same lengths: those that begin in one step end in one step, and so do their successors."""
    longest_output: float
    """Tokens at which the run cuts its answers; infinite where it does not say."""
    median_ttft: bool
    """Its TTFT is the median, which the first wave of requests hardly moves; a mean otherwise."""
    old: bool
    """Of an engine before V1: its host cost and kernels are nuisance constants (old.*), not used in plans."""
    measured: Mapping[str, float]

    @property
    def held_tokens(self) -> float:
        """Tokens that a running request holds on average: of varied answers the long ones are there the longest."""
        return self.input_tokens + self.output_tokens * (1.0 if self.varied else 0.5)

    @property
    def group(self) -> str:
        """Card and width, for example ``A10G TP1``."""
        return f"{self.gpu.name} TP{self.engine.tensor_parallel}"


def source_of(row: Mapping[str, Any]) -> str:
    """Return who published a row: the repository, or the host of a page."""
    host, *path = str(row["source_url"]).split("/")[2:]
    return "/".join(path[:2]) if host == "github.com" else host


def in_development(source: str) -> bool:
    """Return whether errors of a source have been looked at while the model changed."""
    return source in LOOKED_AT


@lru_cache(maxsize=1)
def models() -> Mapping[str, Mapping[str, Any]]:
    """Return the configurations of the models by the name in the rows."""
    document: dict[str, Any] = json.loads((DATA / "throughput-models.json").read_text(encoding="utf-8"))
    out = {}
    for name, entry in document["models"].items():
        config = entry.get("config") or json.loads((ROOT / entry["file"]).read_text(encoding="utf-8"))["config"]
        extra = {key: entry[key] for key in ("quantization_config",) if key in entry}
        out[name] = {**config, **extra}
    return out


@lru_cache(maxsize=256)
def _model(name: str) -> ModelSpec:
    return model_from_config(models()[name], name=name)


def _concurrency(row: Mapping[str, Any]) -> tuple[float, bool]:
    """Return requests in flight and whether they all arrive at once."""
    if row["concurrency"] is not None and row["request_rate"] is None:
        return float(row["concurrency"]), False
    prompts = re.search(r"(\d+) prompts", str(row["notes"]))
    if row["request_rate"] == "inf" and prompts:
        return float(prompts.group(1)), True
    raise BadInput("left out: open loop or load not stated", row["id"])


def _prompts(row: Mapping[str, Any]) -> float:
    found = re.search(r"(\d+) (?:prompts|ShareGPT requests)", str(row["notes"]))
    return float(found.group(1)) if found else math.inf


def _check_load(row: Mapping[str, Any], concurrency: float, outputs: float) -> None:
    """Leave out a run whose own figures say, by Little's law, that its load was not reached (``IDLE``)."""
    rate, ttft, tpot = row["output_tok_s"], row["ttft_ms"], row["tpot_ms"]
    if None in (rate, ttft, tpot):
        return
    in_flight = float(rate) / outputs * (float(ttft) + outputs * float(tpot)) / 1e3
    if abs(in_flight / concurrency - 1) > IDLE[math.isfinite(_prompts(row))]:
        raise BadInput("left out: in flight by its own figures far from the stated concurrency", row["id"])


def _sweep(row: Mapping[str, Any]) -> tuple[object, ...]:
    """Return what the runs of one sweep over requests in flight share: source, model, cards and prompts."""
    prompt = None if row["input_len"] is None else round(float(row["input_len"]) / ALIKE_TOKENS)
    return (source_of(row), row["model"], row["gpu_type"], row["tp"], row["quantization"], prompt)


def _cached_sweeps(rows: Sequence[Mapping[str, Any]]) -> set[tuple[object, ...]]:
    """Return the sweeps of which a run would need more FLOPS than its cards have on paper: their prompts are cached."""
    found = set()
    for row in rows:
        figures = (row["output_tok_s"], row["input_len"], row["output_len"], row["tp"])
        if None in figures or row["model"] not in models():
            continue
        rate, inputs, outputs, gpus = map(float, figures)
        needed = 2 * _model(row["model"]).active_parameters * rate * (1 + inputs / outputs)
        if needed > gpus * max(_gpu(row).dense_tflops.values()) * 1e12:
            found.add(_sweep(row))
    return found


def _gpu(row: Mapping[str, Any]) -> Gpu:
    gpu = load_catalogue().gpu(str(row["gpu_type"]).replace("H100-80GB", "H100"))
    if "Workstation Edition" in str(row["gpu"]):
        return replace(gpu, bandwidth_gb_s=WORKSTATION_GB_S)
    stated = re.search(r"link (nvlink|pcie)", str(row["notes"]))
    if stated and gpu.architecture == "Ampere" and stated[1] != gpu.link:
        return replace(gpu, link=stated[1], link_gb_s=LINK_GB_S[stated[1]])
    return gpu


def _lengths(row: Mapping[str, Any]) -> tuple[float, float]:
    notes, given = str(row["notes"]), (row["input_len"], row["output_len"])
    if None not in given:
        # lengths drawn evenly between this share of the nominal and the nominal, as the client of InferenceX does
        drawn = re.search(r"random-range-ratio ([\d.]+\d)", notes)
        share = (1 + float(drawn.group(1))) / 2 if drawn else 1.0
        return float(given[0]) * share, float(given[1]) * share
    if "ShareGPT" in notes and given == (None, None) and "reasoning" not in notes:
        return float(SHAREGPT[0]), float(SHAREGPT[1])
    if given[0] is None and given[1] is not None:
        return float(SHORT_PROMPT_TOKENS), float(given[1])
    raise BadInput("left out: lengths not stated", row["id"])


def _varied(notes: str, inputs: float, outputs: float) -> bool:
    """Return whether the lengths are those of a corpus of conversations: named, or printed as means of short texts."""
    means = "means of the run" in notes and inputs < LONGEST_MEAN and outputs > LONGEST_MEAN / 10
    return "ShareGPT" in notes or (inputs, outputs) == SHAREGPT or means


def _checks(row: Mapping[str, Any]) -> None:
    notes = str(row["notes"])
    if row["tp"] is None:
        raise BadInput("left out: tensor parallelism not stated", row["id"])
    if row["model"] not in models():
        raise BadInput("left out: model not described", row["model"])
    if "speculative" in notes:
        raise BadInput("left out: speculative", row["id"])
    if "prompts repeat: prompts longer than the answers" in notes:
        raise BadInput("left out: prompts repeat under prefix caching and are longer than the answers", row["id"])
    if int(row["tp"]) > NODE_GPUS:
        raise BadInput("left out: tensor parallelism over several nodes", row["id"])
    if notes.startswith("duplicate of"):
        raise BadInput("left out: the same run as another row", row["id"])
    ranks = re.search(r"\bep=(\d+)", notes)
    if ranks and int(ranks.group(1)) > int(row["tp"]):
        raise BadInput("left out: more expert-parallel ranks than GPUs", row["id"])


def _overrides(row: Mapping[str, Any], tokens: float, model: ModelSpec) -> EngineOverrides:
    notes = str(row["notes"])
    seqs = re.search(r"max-num-seqs[ =](\d+)|(\d+) seqs", notes)
    used = re.search(r"(?:gpu-memory-utilization|\butil)[ =]([\d.]+\d)", notes)
    recent = "0.15.0" if row["date"] >= "2026" else "0.11.0"
    version = row["vllm_version"] or ("0.6.0" if "V0" in notes else recent)
    batched = re.search(r"max-num-batched-tokens[ =](\d+)|(\d+) batched", notes)
    return EngineOverrides(
        vllm_version="0.6.0" if version < "0.6" and version.startswith("0.") and "." in version[2:] and
        int(version.split(".")[1]) < 6 else version,
        tensor_parallel=int(row["tp"]),
        max_model_len=int(min(_stated_length(notes) or max(2 * tokens, 4096), model.max_position_embeddings)),
        gpu_memory_utilization=float(used.group(1)) if used else None,
        max_num_seqs=int(seqs.group(1) or seqs.group(2)) if seqs else None,
        max_num_batched_tokens=int(batched.group(1) or batched.group(2)) if batched else None,
        kv_cache_dtype="fp8" if "fp8 KV" in f"{row['quantization']} {notes}" else None,
        enforce_eager=True if "enforce-eager" in notes else None,
        enable_expert_parallel=True if re.search(r"\bep=(?!1\b)\d+|expert.parallel", notes) else None,
    )  # fmt: skip


def _stated_length(notes: str) -> int | None:
    """Return the max_model_len that a row states."""
    stated = re.search(r"max-model-len[ =](\d+)", notes)
    return int(stated[1]) if stated else None


def _point(row: Mapping[str, Any]) -> Point:
    _checks(row)
    concurrency, burst = _concurrency(row)
    inputs, outputs = _lengths(row)
    if not burst:
        _check_load(row, concurrency, outputs)
    gpu = _gpu(row)
    model = _model(row["model"])
    engine = resolve_engine(model, gpu, _overrides(row, inputs + outputs, model))
    memory = estimate_memory(model, gpu, engine)
    if stated := re.search(r"KV cache (\d+) tokens", str(row["notes"])):
        memory = replace(memory, kv_tokens=int(stated.group(1)))
    if not memory.kv_tokens or (_stated_length(str(row["notes"])) and not memory.fits):
        raise BadInput("left out: does not fit by our estimate", f"{row['id']} {model.name} {gpu.name}")
    measures = ("output_tok_s",) if burst else MEASURES
    measured = {key: float(row[key]) for key in measures if row[key] is not None}
    notes = str(row["notes"])
    # a cached prompt has no prefill to time, and to a client far away it is not the engine that answers late
    if re.search(r"ttft_ms is P95|prompts (?:of the list )?repeat|far client", notes):
        measured.pop("ttft_ms", None)
    elif re.search(r"P95|p95", notes):
        measured = {key: value for key, value in measured.items() if key == "output_tok_s"}
    if not measured:
        raise BadInput("left out: nothing comparable was measured", row["id"])
    return Point(
        id=row["id"],
        source=source_of(row),
        tier=row["tier"],
        model=model,
        gpu=gpu,
        engine=engine,
        memory=memory,
        work=step_work(model, engine),
        median_ttft="p50 TTFT" in notes,
        concurrency=concurrency,
        burst=burst,
        prompts=_prompts(row),
        varied=_varied(notes, inputs, outputs),
        alike="lengths fixed" in notes,
        input_tokens=inputs,
        output_tokens=outputs,
        longest_output=float(cut.group(1)) if (cut := re.search(r"outputs cut at (\d+)", notes)) else math.inf,
        old="V0" in notes,
        measured=measured,
    )


def _figure(row: Mapping[str, Any]) -> tuple[object, ...]:
    """Return what two rows of one measurement have in common, whatever card they name."""
    return (source_of(row), row["model"], row["tp"], row["input_len"], row["output_len"], row["output_tok_s"])


@lru_cache(maxsize=1)
def read_points() -> tuple[tuple[Point, ...], Mapping[str, int]]:
    """Return the rows that can be compared, and how many were left out for which reason."""
    points, left_out = [], dict[str, int]()
    rows = [json.loads(line) for line in (DATA / "throughput-points.jsonl").read_text(encoding="utf-8").splitlines()]
    cards: dict[tuple[object, ...], set[str]] = {}
    cached = _cached_sweeps(rows)
    for row in rows:
        cards.setdefault(_figure(row), set()).add(row["gpu_type"])
    for row in rows:
        try:
            if row["output_tok_s"] is not None and len(cards[_figure(row)]) > 1:
                raise BadInput("left out: same figure printed for two cards", row["id"])
            if _sweep(row) in cached:
                raise BadInput("left out: a run of its sweep needs more FLOPS than the cards have", row["id"])
            points.append(_point(row))
        except BadInput as error:
            reason = error.where if error.where.startswith("left out") else f"refused: {error.where}: {error.problem}"
            left_out[reason] = left_out.get(reason, 0) + 1
    return tuple(points), dict(sorted(left_out.items()))
