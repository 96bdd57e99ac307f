"""Documents copy what the plan decides: no arithmetic in ``components/`` but conversions of units and lengths of names.

What this does not see: a decision by a comparison (``if plan.replicas.floor >= 2``) and one hidden in a call.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

COMPONENTS = Path(__file__).resolve().parents[2] / "components"
OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
FUNCTIONS = {"abs", "divmod", "max", "min", "pow", "round", "sum"}
TEXTS_AND_LISTS = (ast.JoinedStr, ast.List, ast.ListComp, ast.Tuple)
SETS = (ast.Set, ast.SetComp)
BUILDERS = {"list", "sorted", "str", "tuple", "json.dumps", "at_most"}
ALLOWED = {
    ("common/kubernetes.py", "cpu"): "cores to millicores",
    ("common/kubernetes.py", "gib"): "GiB to MiB",
    ("common/kubernetes.py", "minutes"): "seconds to minutes",
    ("common/names.py", "with_digest"): "length of a name that a service allows",
    ("data/model_store/documents.py", "bucket_name"): "length of a name that S3 allows",
    ("cluster/network/documents.py", "zone_slot"): "blocks of addresses by zone, which no plan decides",
    ("serving/gateway/documents.py", "duration"): "seconds to hours, minutes and seconds",
}
"""(file, function) that may count, with the reason."""


def _name(call: ast.expr) -> str:
    return ast.unparse(call.func) if isinstance(call, ast.Call) else ""


def _is_set(node: ast.expr) -> bool:
    return isinstance(node, SETS) or _name(node) == "set"


def _is_text_or_list(node: ast.expr) -> bool:
    """Tell whether an expression is a text, a list or a tuple by its form."""
    if isinstance(node, ast.IfExp):
        return _is_text_or_list(node.body) and _is_text_or_list(node.orelse)
    if isinstance(node, ast.BinOp):
        return _is_text_or_list(node.left) or _is_text_or_list(node.right)
    constant = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return constant or isinstance(node, TEXTS_AND_LISTS) or _name(node) in BUILDERS


def _counts(node: ast.AST) -> bool:
    """Tell whether a node of the syntax tree is arithmetic."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, OPERATORS):
        joined = isinstance(node.op, ast.Add) and (_is_text_or_list(node.left) or _is_text_or_list(node.right))
        return not (joined or (isinstance(node.op, ast.Sub) and _is_set(node.left)))
    if isinstance(node, ast.AugAssign) and isinstance(node.op, OPERATORS):
        return not (isinstance(node.op, ast.Add) and _is_text_or_list(node.value))
    name = _name(node) if isinstance(node, ast.Call) else ""
    return name in FUNCTIONS or name.startswith(("math.", "operator.", "statistics."))


def arithmetic(source: str) -> Iterator[tuple[str, str]]:
    """Yield (outermost function, expression) of every arithmetic in ``source``."""
    for statement in ast.parse(source).body:
        methods = statement.body if isinstance(statement, ast.ClassDef) else [statement]
        for inner in methods:
            for node in ast.walk(inner):
                if _counts(node):
                    yield getattr(inner, "name", "module"), ast.unparse(node)


def found() -> dict[tuple[str, str], list[str]]:
    """Return every arithmetic of the components by file and function."""
    places: dict[tuple[str, str], list[str]] = {}
    for path in sorted(COMPONENTS.rglob("*.py")):
        for function, expression in arithmetic(path.read_text(encoding="utf-8")):
            places.setdefault((str(path.relative_to(COMPONENTS)), function), []).append(expression)
    return places


def test_no_document_computes_what_the_plan_should_decide() -> None:
    assert {place: said for place, said in found().items() if place not in ALLOWED} == {}, (
        "make it a field of the plan, with its rule in sizing/ and its figure (docs/adr/0014)"
    )


def test_every_function_that_may_count_still_does() -> None:
    assert set(ALLOWED) - set(found()) == set()


@pytest.mark.parametrize(
    "expression",
    [
        "plan.x * 2",
        "2 * plan.rollout.cold_start_s",
        "f'{2 * plan.x}s'",
        "max(600, plan.x)",
        "sum(pool.gpu_limit for pool in pools)",
        "math.ceil(plan.x / 60)",
        "plan.replicas.ceiling // 2",
        "round(plan.x)",
        "plan.x + MARGIN_S",
        "len(plan.pools) - 1",
        "plan.x ** 2",
        "plan.x % 60",
        "[plan.x] * plan.replicas.ceiling",
        "{'seconds': [plan.drain.pre_stop_s + plan.drain.shutdown_timeout_s]}",
    ],
)
def test_arithmetic_on_a_figure_of_the_plan_is_noticed(expression: str) -> None:
    assert list(arithmetic(f"def document(plan):\n    return {expression}\n"))


def test_a_figure_that_is_added_up_in_a_loop_is_noticed() -> None:
    source = "class A:\n    def total(self, pools):\n        for pool in pools:\n            count += pool.gpu_limit\n"
    assert list(arithmetic(source)) == [("total", "count += pool.gpu_limit")]


@pytest.mark.parametrize(
    "expression",
    [
        "json.dumps(document) + '\\n'",
        "name + f'-{plan.name}'",
        "[*first] + list(second)",
        "set(pool.zones) - set(known)",
        "{one.name for one in models} - {'kube-system'}",
        "str | None",
    ],
)
def test_texts_lists_and_sets_may_be_joined(expression: str) -> None:
    assert list(arithmetic(f"def document(plan):\n    return {expression}\n")) == []
