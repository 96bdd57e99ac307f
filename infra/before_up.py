"""What must be settled before ``pulumi up``: pure decisions from a stack file and its plan, a command for each.

A step that ``stops`` is one with which an ``up`` cannot end well: a real one refuses it before anything is created, an
offline preview or a rehearsal lists it and goes on. Any other step is for somebody who reads: AWS or a person must do
something that no program of this project can see.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from infra.environment import cluster_stack, secrets_prefix
from infra.settings.cluster import ClusterSettings
from infra.settings.placeholders import (
    is_placeholder_address,
    is_placeholder_digest,
    is_placeholder_network,
    placeholder_accounts,
)
from infra.settings.schema import StackSettings
from infra.settings.serving import ServingSettings
from sizing.catalogue import Catalogue
from sizing.catalogue.gated import is_gated
from sizing.errors import BadInput
from sizing.nodes.quotas import purchases_of, quota_title, vcpus_by_quota
from sizing.plan import StackPlan
from sizing.serving.weights import ingest_problems

COMMANDS = {"aws": "every call to Kubernetes signs in with `aws eks get-token`"}
"""Commands that an ``up`` starts itself, and what for (the kubeconfig of ``infra/providers.py``)."""
ACCOUNT = "aws sts get-caller-identity --query Account --output text"
CALLER = "aws sts get-caller-identity --query Arn --output text"
STACK_TAG = "tonnage:stack"
GUIDE = "docs/how-to/first-deployment.md"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing to settle: at which key of which stack, what happens otherwise, and the command or setting for it."""

    stack: str
    key: str
    stops: bool
    says: str
    settle: str


def cluster_steps(stack: str, settings: ClusterSettings) -> tuple[Step, ...]:
    """Return what to settle before the ``up`` of a cluster stack; first what stops it."""
    make = _maker(stack)
    steps = [*_reach(make, settings), *_accounts(make, settings)]
    roles = ", ".join(settings.admin_role_arns)
    steps.append(
        make(
            "tonnage:adminRoleArns",
            f"who runs `pulumi up` must be in one of these roles, nobody else gets into the cluster: {roles}",
            CALLER,
        )
    )
    return in_order([*steps, *_commands(make)])


def serving_steps(stack: str, settings: ServingSettings, plan: StackPlan, catalogue: Catalogue) -> tuple[Step, ...]:
    """Return what to settle before the ``up`` of a serving stack; first what stops it."""
    make = _maker(stack)
    steps = [
        *_images(make, settings),
        *_accounts(make, settings),
        *_weights(make, settings, plan, catalogue),
        *_token(make, settings, plan),
        *_alarms(make, settings, plan),
        *_quotas(make, settings, plan, catalogue),
        *_caller_keys(make, settings, plan),
        *_commands(make),
    ]
    return in_order(steps)


def in_order(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Return what stops an ``up`` first, else in the order given; what two stacks ask for alike stands once."""
    once: dict[tuple[str, str, str], Step] = {}
    for step in steps:
        once.setdefault((step.key, step.says, step.settle), step)
    return tuple(sorted(once.values(), key=lambda step: not step.stops))


def refuse_what_stops(steps: Iterable[Step]) -> None:
    """Raise BadInput that names every step with which a real ``up`` cannot end well; nothing where there is none."""
    stopping = [step for step in steps if step.stops]
    if stopping:
        listed = " | ".join(f"{step.key}: {step.says}; settle: {step.settle}" for step in stopping)
        things = "1 thing stops" if len(stopping) == 1 else f"{len(stopping)} things stop"
        stack = stopping[0].stack
        way_out = f".venv/bin/tonnage preview {stack} lists what to do before `up`"
        raise BadInput(f"stack {stack}", f"{things} it before anything is created: {listed}", way_out=way_out)


def refuse_missing_commands(which: Callable[[str], object] = shutil.which) -> None:
    """Raise BadInput for a command that an ``up`` starts and that is not on the path (``which`` looks it up)."""
    for command, purpose in COMMANDS.items():
        if which(command) is None:
            way_out = f"install the AWS CLI, version 2, then: {command} --version"
            raise BadInput("PATH", f"has no command `{command}`, but {purpose}", way_out=way_out)


def refuse_foreign_caller(caller_arn: str, admin_role_arns: Sequence[str]) -> None:
    """Raise BadInput unless the caller of AWS, as STS names it, is in one of the cluster's admin roles."""
    account, _, name = _role_of(caller_arn)
    for arn in admin_role_arns:
        if (account, name) == _role_of(arn)[::2]:
            return
    raise BadInput(
        "tonnage:adminRoleArns",
        f"{caller_arn} runs this, who would get no rights in the cluster",
        limit=", ".join(admin_role_arns),
        way_out=f"assume one of these roles, or add the caller's own (see: {CALLER})",
    )


def _role_of(arn: str) -> tuple[str, str, str]:
    """Return (account, kind, role) of a role's ARN or of a session's: STS names a session's role without its path."""
    parts = arn.split(":", 5)
    kind, _, rest = (parts[5] if len(parts) > 5 else "").partition("/")
    name = rest.partition("/")[0] if kind == "assumed-role" else rest.rpartition("/")[2]
    return (parts[4] if len(parts) > 4 else "", kind, name if kind in {"assumed-role", "role"} else "")


Make = Callable[..., Step]


def _maker(stack: str) -> Make:
    def make(key: str, says: str, settle: str, *, stops: bool = False) -> Step:
        return Step(stack=stack, key=key, stops=stops, says=says, settle=settle)

    return make


def _reach(make: Make, settings: ClusterSettings) -> list[Step]:
    """Return whether whoever runs ``up`` reaches the API of a cluster whose network the same ``up`` makes."""
    mine = "$(curl -s https://checkip.amazonaws.com)/32"
    outside, inside = settings.public_access_cidrs, settings.api_access_cidrs
    if not outside and not inside:
        says = "the Kubernetes API answers only inside a network that does not exist yet, so nobody reaches it"
        settle = (
            f"tonnage:publicAccessCidrs: [{mine}], or tonnage:apiAccessCidrs for a VPN, peering or bastion: {GUIDE}"
        )
        return [make("tonnage:publicAccessCidrs", says, settle, stops=True)]
    steps = [
        make("tonnage:publicAccessCidrs", f"{cidr} is a network of documentation", f"your own: {mine}", stops=True)
        for cidr in outside
        if is_placeholder_network(cidr)
    ]
    if not outside:
        says = f"{', '.join(inside)} must be routed to the new network {settings.cidr} before `up` comes to Kubernetes"
        steps.append(make("tonnage:apiAccessCidrs", says, f"attach it, then run `pulumi up` again: {GUIDE}"))
    return steps


def _accounts(make: Make, settings: StackSettings) -> list[Step]:
    return [
        make(key, f"account {account} is of documentation", f"write your own: {ACCOUNT}", stops=True)
        for key, account in placeholder_accounts(settings)
    ]


def _commands(make: Make) -> list[Step]:
    return [
        make(f"command {command}", f"must be where `pulumi up` runs: {purpose}", f"{command} --version")
        for command, purpose in COMMANDS.items()
    ]


def _images(make: Make, settings: ServingSettings) -> list[Step]:
    runtime = settings.runtime
    images = (
        ("imageDigest", runtime.image_digest, "engine", "VLLM_DIGEST"),
        ("toolsDigest", runtime.tools_digest, "tools", "PYTHON_DIGEST"),
    )
    return [
        make(
            f"tonnage:runtime.{key}",
            "is the placeholder: no such image exists, and `up` would wait an hour for its pods",
            f"docker build --platform linux/amd64 -f runtime/Dockerfile --target {target} "
            f"--build-arg {base}=sha256:DIGEST . , push it and state its digest: {GUIDE}",
            stops=True,
        )
        for key, digest, target, base in images
        if is_placeholder_digest(digest)
    ]


def _weights(make: Make, settings: ServingSettings, plan: StackPlan, catalogue: Catalogue) -> list[Step]:
    steps = []
    for index, (entry, planned) in enumerate(zip(settings.models, plan.models, strict=True)):
        for problem in ingest_problems(entry, catalogue, only=planned.model):
            says, _, settle = problem.partition("; ")
            key = f"tonnage:models[{index}].revision"
            steps.append(make(key, f"{entry.name}: its weights cannot be copied: {says}", settle, stops=True))
    return steps


def _token(make: Make, settings: ServingSettings, plan: StackPlan) -> list[Step]:
    gated = sorted({model.model for model in plan.models if is_gated(model.model)})
    if not gated or settings.hub_secret_arn is not None:
        return []
    says = f"the hub gives {', '.join(gated)} only to an account that accepted the licence, and no token is named"
    prefix = secrets_prefix(cluster_stack(settings, plan.stack))
    settle = (
        f"accept it at https://huggingface.co/{gated[0]}, then state the ARN of: aws secretsmanager create-secret "
        f"--name {prefix}/hub-token --secret-string file://token.json (a property HF_TOKEN): {GUIDE}"
    )
    return [make("tonnage:hubSecretArn", says, settle, stops=True)]


def _alarms(make: Make, settings: ServingSettings, plan: StackPlan) -> list[Step]:
    notified = settings.budget.notify
    unread = [address for address in notified if is_placeholder_address(address)]
    read = [address for address in notified if address not in unread]
    key, steps = "tonnage:budget.notify", []
    if unread or not notified:
        who = f"{', '.join(unread)} take no mail" if unread else "names nobody"
        says = f"{who}: alarms of the budget reach no one" if not read else f"{who}: they get no alarm"
        steps.append(make(key, says, f"{key.removeprefix('tonnage:')}: [YOU@YOUR-DOMAIN]"))
    if read:
        says = f"AWS writes to {', '.join(read)} once; until the link in that mail is opened, no alarm is sent there"
        check = "aws sns list-subscriptions --query 'Subscriptions[].[Endpoint,SubscriptionArn]' --output text"
        steps.append(make(key, says, f"after `up`: {check}"))
    says = f"the budget of ${plan.budget.monthly_usd:,.0f} counts nothing until the cost allocation tag is active"
    settle = (
        "in the account that pays, a day after `up`: aws ce update-cost-allocation-tags-status "
        f"--cost-allocation-tags-status TagKey={STACK_TAG},Status=Active"
    )
    return [*steps, make("tonnage:budget", says, settle)]


def _quotas(make: Make, settings: ServingSettings, plan: StackPlan, catalogue: Catalogue) -> list[Step]:
    """Return the quotas that the stack needs and does not state; planning has held the stated ones already."""
    stated = {quota.code for quota in settings.capacity.quotas}
    needed = vcpus_by_quota(purchases_of(plan.pools), catalogue)
    return [
        make(
            "tonnage:capacity.quotas",
            f"the ceiling needs {count} vCPU of EC2 quota {code} ({quota_title(code, catalogue)}); a new account has 0",
            f"aws service-quotas get-service-quota --service-code ec2 --quota-code {code} --region {plan.region}",
        )
        for code, count in needed.items()
        if code not in stated
    ]


def _caller_keys(make: Make, settings: ServingSettings, plan: StackPlan) -> list[Step]:
    says = "without callers' keys in Secrets Manager the gateway refuses every request"
    own = f"{secrets_prefix(cluster_stack(settings, plan.stack))}/gateway-api-keys"
    name = settings.gateway.api_keys_secret_arn or own
    return [make("tonnage:gateway.apiKeysSecretArn", says, f"aws secretsmanager describe-secret --secret-id {name}")]
