"""How long a replica takes to start, to be believed dead and to leave: start-up, probes, drain.

    share cut = E[max(answer - drained, 0)] / E[answer]    of the answers in flight when a replica begins to leave

An answer in flight has as much before it as a moment within it chosen at random, long answers more often than short
ones; ``drained`` are the tokens that it gets in preStop and shutdown time. How long an answer may last is another
figure: ``sizing.serving.longest_answer``.
"""

from __future__ import annotations

import math

from sizing.catalogue import Instance
from sizing.catalogue.files import serving_facts
from sizing.errors import NoPlan
from sizing.models.spec import ModelSpec
from sizing.plan import EngineSettings, ServingPlan, StartUp
from sizing.plan.operation import Drain, Probe, Probes
from sizing.serving.weights import reads_once
from sizing.units import round_up
from sizing.workload.lengths import share_left
from sizing.workload.workload import Workload


def start_up(model: ModelSpec, engine: EngineSettings, instance: Instance, weights_bytes: int) -> StartUp:
    """Predict the phases from a bought node to a ready replica; the weights come from S3 through the streamer.

    Ranks that do not read them together read all of them, each as fast as one reader and together within the line.
    """
    facts, image_gb = serving_facts("start_up"), serving_facts("disk")["image_compressed_gb"]
    gpus, gigabytes = engine.tensor_parallel * engine.pipeline_parallel, weights_bytes / 1e9
    readers = 1 if reads_once(model, engine) else gpus
    line_gb_per_s = instance.network_gbps / 8 * facts["network_share"]
    compile_s = facts["compile_base_s"] + facts["compile_s_per_gb"] * gigabytes
    graphs_s = 0.0 if engine.enforce_eager else facts["graphs_s_per_layer"] * model.num_layers
    return StartUp(
        node_s=float(facts["node_s"]),
        image_pull_s=round(image_gb / min(facts["image_mb_per_s"] / 1e3, line_gb_per_s), 1),
        weights_load_s=round(gigabytes / min(facts["weights_gb_per_s"], line_gb_per_s / readers), 1),
        compile_s=0.0 if engine.enforce_eager else round(compile_s, 1),
        warm_up_s=round(facts["process_s"] + facts["process_s_per_gpu"] * gpus + graphs_s, 1),
    )


def probes(start: StartUp) -> Probes:
    """Return the probe budgets: start-up covers twice the predicted load of the pod."""
    facts = serving_facts("probes")
    failures = math.ceil(facts["startup_load_factor"] * start.pod_s / facts["startup_period_s"])

    def probe(kind: str, count: int) -> Probe:
        return Probe(
            path=facts[f"{kind}_path"],
            period_s=facts[f"{kind}_period_s"],
            timeout_s=facts[f"{kind}_timeout_s"],
            failure_threshold=count,
        )

    return Probes(
        startup=probe("startup", max(failures, facts["startup_min_failures"])),
        liveness=probe("liveness", facts["liveness_failures"]),
        readiness=probe("readiness", facts["readiness_failures"]),
    )


def drain(longest_answer_s: float, *, spot: bool) -> Drain:
    """Return how a replica leaves: an answer of ``longest_answer_s`` ends first, within what its node allows.

    A spot node has its notice. Others have what an update of a managed node group waits for a pod.
    """
    facts = serving_facts("drain")
    most = facts["spot_notice_s"] - facts["spot_reserve_s"] if spot else facts["max_grace_s"]
    wanted = round_up(max(longest_answer_s, facts["min_shutdown_s"]), facts["round_to_s"])
    shutdown = min(wanted, most - facts["pre_stop_s"] - facts["margin_s"])
    return Drain(
        pre_stop_s=facts["pre_stop_s"],
        shutdown_timeout_s=shutdown,
        grace_period_s=facts["pre_stop_s"] + shutdown + facts["margin_s"],
    )


def drained_s(leave: Drain) -> int:
    """Return the seconds that an answer in flight still gets from a replica that leaves."""
    return leave.pre_stop_s + leave.shutdown_timeout_s


def interrupted_share(workload: Workload, leave: Drain, token_ms: float, longest_tokens: int) -> float:
    """Return the share of the answers in flight that a leaving replica cuts, at ``token_ms`` per output token."""
    tokens, ratio = workload.output_tokens, None
    if workload.output_tokens_p95 is not None:
        ratio = workload.output_tokens_p95 / tokens
    return share_left(drained_s(leave) * 1e3 / token_ms / tokens, ratio, longest_tokens / tokens)


def check_interrupted_share(plan: ServingPlan, most: float | None) -> None:
    """Raise NoPlan for a plan on spot nodes of which a reclaim cuts more than ``most`` of the answers in flight."""
    if most is None or plan.interrupted_share <= most:
        return
    raise NoPlan(
        f"models.{plan.name}",
        f"a reclaim of a spot node cuts {plan.interrupted_share:.1%} of the answers in flight: it leaves them "
        f"{drained_s(plan.drain)} s, and one may last {plan.longest_answer.total_s} s",
        limit=f"capacity.interruptedShare {most:.1%}",
        way_out="state capacity.spotShare: 0, a smaller longestOutputTokens of the model, or a larger share",
    )
