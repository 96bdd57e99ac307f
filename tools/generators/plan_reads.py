"""Who makes and who reads the fields of the plan, told by the syntax tree: types follow from annotations.

The types are of classes alone: ``tuple[NodePoolPlan, ...]``, ``NodePoolPlan | None`` and ``Mapping[str, NodePoolPlan]``
all stand for ``NodePoolPlan``, and so do their elements. That is enough to tell ``plan.scaling`` from another class's
``scaling``, and misses only what is read from an object whose type no annotation says.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = ("sizing/plan/__init__.py", "sizing/plan/operation.py")
AFTER = "sizing/observe/"
"""What looks at a plan afterwards: it reads plans and proposes others, and makes none."""
NO_RULES = ("sizing/units.py", "sizing/catalogue/files.py")
"""Files whose functions make nothing by themselves: rounding, and what the catalogue says."""
FOLDERS = ("sizing", "components", "infra", "policies", "rehearsal", "cli")
PASSED_ON = {"list", "max", "min", "next", "replace", "reversed", "set", "sorted", "tuple", "zip", "enumerate"}
WHOLE = {"asdict", "vars"}
"""Calls that read every field of what they get."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field of a class: what its docstring says of it, and its type."""

    name: str
    annotation: ast.expr
    says: str


@dataclass(frozen=True, kw_only=True)
class Class:
    """One class: its file, its annotated fields, and the functions in it."""

    name: str
    file: str
    fields: dict[str, Field]
    functions: dict[str, ast.FunctionDef]
    says: str


@dataclass(frozen=True, kw_only=True)
class Maker:
    """Where a field gets its value: file, function, and the expression that is given."""

    file: str
    function: str
    expression: str
    says: str
    via: tuple[str, str] = ("", "")
    """The field of another class, not of the contract, that the value is handed on from."""

    @property
    def place(self) -> str:
        """File and function as the page names them."""
        return f"{self.file}:{self.function}"


@dataclass(kw_only=True)
class Module:
    """One file: its tree, and what its names stand for."""

    file: str
    tree: ast.Module
    imported: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Name here -> (file, name there)."""
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)


def _says(node: ast.FunctionDef | ast.ClassDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n\n")[0].replace("\n", " ")


def _class(node: ast.ClassDef, file: str) -> Class:
    fields = {}
    for statement, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and after.value.value
            said = " ".join(str(text).split()) if text else ""
            fields[statement.target.id] = Field(name=statement.target.id, annotation=statement.annotation, says=said)
    functions = {one.name: one for one in node.body if isinstance(one, ast.FunctionDef)}
    return Class(name=node.name, file=file, fields=fields, functions=functions, says=_says(node))


class Code:
    """The code of the repository, with its classes by name; those of the contract win over others of their name."""

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root
        self.modules: dict[str, Module] = {}
        self.attributes: dict[tuple[str, str], str] = {}
        """(class, attribute that a method sets) -> class."""
        self.classes: dict[str, Class] = {}
        for path in sorted(one for folder in FOLDERS for one in (root / folder).rglob("*.py")):
            self._add(str(path.relative_to(root)), ast.parse(path.read_text(encoding="utf-8")))
        self.contract: dict[str, Class] = {}
        for file in CONTRACT:
            nodes = [node for node in self.modules[file].tree.body if isinstance(node, ast.ClassDef)]
            self.contract |= {node.name: _class(node, file) for node in nodes}
        self.classes |= self.contract

    def _file(self, module: str) -> str:
        """Return the file of a module or package."""
        path = module.replace(".", "/")
        return f"{path}.py" if (self.root / f"{path}.py").exists() else f"{path}/__init__.py"

    def _add(self, file: str, tree: ast.Module) -> None:
        module = Module(file=file, tree=tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                path = self._file(node.module)
                module.imported |= {one.asname or one.name: (path, one.name) for one in node.names}
            elif isinstance(node, ast.ClassDef):
                self.classes.setdefault(node.name, _class(node, file))
        module.functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        self.modules[file] = module

    def function(self, module: Module, name: str) -> tuple[str, ast.FunctionDef] | None:
        """Return file and definition of the function that ``name`` stands for in ``module``."""
        if name in module.functions:
            return module.file, module.functions[name]
        file, there = module.imported.get(name, ("", ""))
        found = self.modules[file].functions.get(there) if file in self.modules else None
        return (file, found) if found else None

    def knows(self, name: str, file: str) -> bool:
        """Tell whether ``name`` stands for a known class in ``file``; one of the contract must be imported from it."""
        if name not in self.contract:
            return name in self.classes
        return file in CONTRACT or self.modules[file].imported.get(name, ("", ""))[0] in CONTRACT

    def type_in(self, annotation: ast.AST | None, file: str) -> str:
        """Return the first known class in an annotation of ``file``; empty without one."""
        if annotation is None:
            return ""
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            annotation = ast.parse(annotation.value, mode="eval")
        names = [node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)]
        return next((name for name in names if self.knows(name, file)), "")

    def nested(self, name: str) -> Iterator[tuple[str, str]]:
        """Yield (class, field) of a class of the contract and of those in its fields."""
        for one in self.contract[name].fields.values():
            yield name, one.name
            inner = self.type_in(one.annotation, self.contract[name].file)
            if inner in self.contract and inner != name:
                yield from self.nested(inner)

    def fields_of_property(self, name: str, prop: str) -> set[str]:
        """Return the fields that a property of a class of the contract is made of."""
        own, found = self.contract[name], set()
        for node in ast.walk(own.functions[prop]):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
                if node.attr in own.fields:
                    found.add(node.attr)
                elif node.attr in own.functions and node.attr != prop:
                    found |= self.fields_of_property(name, node.attr)
        return found

    @cached_property
    def readings(self) -> dict[str, Reading]:
        """What each file reads and makes."""
        return {file: Reading(self, module) for file, module in self.modules.items()}

    def readers(self, name: str, of: str) -> list[str]:
        """Return the files that read a field, sorted."""
        return sorted(file for file, one in self.readings.items() if (name, of) in one.reads)

    def _before(self, maker: Maker, *, handed_on: bool) -> list[Maker]:
        before = self.makers(*maker.via, handed_on=False) if handed_on and maker.via[0] else []
        return [replace(one, expression=one.expression or maker.expression) for one in before] or [maker]

    def makers(self, name: str, of: str, *, handed_on: bool = True) -> list[Maker]:
        """Return where rules give a field its value, each place once; copies count where no constructor gives it.

        A value that is ``handed_on`` from a field of another class is made where that field gets it, one step back.
        """
        key = name, of
        ours = [one for file, one in self.readings.items() if file.startswith("sizing/") and not file.startswith(AFTER)]
        made = [maker for one in ours for maker in one.made.get(key, ())]
        made = made or [maker for one in ours for maker in one.changed.get(key, ())]
        found = {one.place: one for maker in made for one in self._before(maker, handed_on=handed_on)}
        return [found[place] for place in sorted(found)]


class Reading(ast.NodeVisitor):
    """One walk over a file: the fields of the contract that it reads, and those that it gives a value."""

    def __init__(self, code: Code, module: Module) -> None:
        self.code, self.module = code, module
        self.reads: set[tuple[str, str]] = set()
        self.made: dict[tuple[str, str], list[Maker]] = {}
        self.changed: dict[tuple[str, str], list[Maker]] = {}
        """Fields that a copy (``replace``) gives another value."""
        self._types: list[dict[str, str]] = [{}]
        self._values: list[dict[str, ast.expr]] = [{}]
        self._function: list[ast.FunctionDef] = []
        self._class: list[str] = []
        self.visit(module.tree)

    def _bind(self, target: ast.expr, value: ast.expr | None, kind: str) -> None:
        if isinstance(target, ast.Name):
            if kind:
                self._types[-1][target.id] = kind
            if value is not None:
                self._values[-1][target.id] = value
        elif isinstance(target, ast.Attribute):
            owner = self.type_of(target.value)
            if kind and owner in self.code.classes and owner not in self.code.contract:
                self.code.attributes.setdefault((owner, target.attr), kind)
        elif isinstance(target, (ast.Tuple, ast.List)):
            same = isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts)
            for place, one in enumerate(target.elts):
                part = value.elts[place] if same and isinstance(value, (ast.Tuple, ast.List)) else value
                self._bind(one, part, self.type_of(part) if same and part is not None else kind)

    def type_of(self, node: ast.expr) -> str:  # noqa: PLR0911 (one line for each kind of expression)
        """Return the class of an expression, or of its elements; empty where no annotation says it."""
        match node:
            case ast.Name():
                return next((scope[node.id] for scope in reversed(self._types) if node.id in scope), "")
            case ast.Attribute():
                return self._type_of_attribute(self.type_of(node.value), node.attr)
            case ast.Call():
                return self._type_of_call(node)
            case ast.Subscript() | ast.Starred() | ast.Await():
                return self.type_of(node.value)
            case ast.IfExp():
                return self.type_of(node.body) or self.type_of(node.orelse)
            case ast.BoolOp():
                return self._first(node.values)
            case ast.Tuple() | ast.List() | ast.Set():
                return self._first(node.elts)
            case ast.Dict():
                return self._first(node.values)
            case ast.BinOp():
                return self._first([node.left, node.right])
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp():
                self._generators(node.generators)
                return self.type_of(node.elt)
            case ast.DictComp():
                self._generators(node.generators)
                return self.type_of(node.value)
            case _:
                return ""

    def _first(self, nodes: Iterable[ast.expr]) -> str:
        return next((kind for kind in map(self.type_of, nodes) if kind), "")

    def _type_of_attribute(self, kind: str, name: str) -> str:
        if kind not in self.code.classes:
            return ""
        own = self.code.classes[kind]
        if (kind, name) in self.code.attributes:
            return self.code.attributes[kind, name]
        if name in own.fields:
            return self.code.type_in(own.fields[name].annotation, own.file)
        return self.code.type_in(own.functions[name].returns, own.file) if name in own.functions else ""

    def _type_of_call(self, node: ast.Call) -> str:
        if isinstance(node.func, ast.Attribute):
            if (found := self._of_module(node.func)) is not None:
                return self.code.type_in(found[1].returns, found[0])
            base = self.type_of(node.func.value)
            return self._type_of_attribute(base, node.func.attr) or base
        if not isinstance(node.func, ast.Name):
            return ""
        if self.code.knows(node.func.id, self.module.file):
            return node.func.id
        if node.func.id in PASSED_ON:
            return self._first(node.args)
        found = self.code.function(self.module, node.func.id)
        return self.code.type_in(found[1].returns, found[0]) if found else ""

    def _of_module(self, called: ast.Attribute) -> tuple[str, ast.FunctionDef] | None:
        """Return file and definition of a function that is called as ``documents.node_pool``."""
        if not isinstance(called.value, ast.Name) or called.value.id not in self.module.imported:
            return None
        folder, name = self.module.imported[called.value.id]
        file = f"{folder.removesuffix('/__init__.py')}/{name}.py"
        found = self.code.modules[file].functions.get(called.attr) if file in self.code.modules else None
        return (file, found) if found else None

    def _generators(self, generators: list[ast.comprehension]) -> None:
        for one in generators:
            self._bind(one.target, None, self.type_of(one.iter))

    def visit_ClassDef(self, node: ast.ClassDef) -> None:  # noqa: D102 (names of ast.NodeVisitor)
        self._class.append(node.name)
        self.generic_visit(node)
        self._class.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:  # noqa: D102
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        types = {one.arg: self.code.type_in(one.annotation, self.module.file) for one in given if one.annotation}
        if self._class and given and given[0].arg == "self":
            types["self"] = self._class[-1]
        self._types.append(types)
        self._values.append({})
        self._function.append(node)
        self.generic_visit(node)
        self._function.pop()
        self._values.pop()
        self._types.pop()

    def visit_Assign(self, node: ast.Assign) -> None:  # noqa: D102
        self.visit(node.value)
        for target in node.targets:
            self._bind(target, node.value, self.type_of(node.value))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:  # noqa: D102
        self._bind(node.target, node.value, self.code.type_in(node.annotation, self.module.file))
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:  # noqa: D102
        self._bind(node.target, None, self.type_of(node.iter))
        self.generic_visit(node)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        self._generators(node.generators)
        self.generic_visit(node)

    visit_ListComp = visit_SetComp = visit_GeneratorExp = visit_DictComp = _comprehension  # noqa: N815

    def visit_Attribute(self, node: ast.Attribute) -> None:  # noqa: D102
        kind = self.type_of(node.value)
        if kind in self.code.contract and isinstance(node.ctx, ast.Load):
            own = self.code.contract[kind]
            if node.attr in own.fields:
                self.reads.add((kind, node.attr))
            elif node.attr in own.functions:
                self.reads |= {(kind, name) for name in self.code.fields_of_property(kind, node.attr)}
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:  # noqa: D102
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in WHOLE and node.args and (kind := self.type_of(node.args[0])) in self.code.contract:
            self.reads |= set(self.code.nested(kind))
        made, places = (name, self.made) if self.code.knows(name, self.module.file) else ("", self.changed)
        if name == "replace" and node.args:
            made = self.type_of(node.args[0])
        if made in self.code.classes:
            for one in node.keywords:
                if one.arg is not None:
                    places.setdefault((made, one.arg), []).append(self._maker(one.value, one.value))
                    continue
                for each in self.code.classes[made].fields if places is self.made else ():
                    places.setdefault((made, each), []).append(self._holder())
        self.generic_visit(node)

    def _maker(self, value: ast.expr, given: ast.expr, depth: int = 3) -> Maker:
        """Return who makes ``value``: the function or property that it comes from, else the one that holds it."""
        if isinstance(value, ast.Name) and depth:
            assigned = next((scope[value.id] for scope in reversed(self._values) if value.id in scope), None)
            if assigned is not None:
                return self._maker(assigned, given, depth - 1)
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and depth:
            found = self.code.function(self.module, value.func.id)
            if found and found[0] not in NO_RULES:
                file, function = found
                return Maker(file=file, function=function.name, expression=ast.unparse(given), says=_says(function))
        if isinstance(value, ast.Attribute):
            own = self.code.classes.get(self.type_of(value.value))
            if own and value.attr in own.functions and own.name not in self.code.contract:
                function = own.functions[value.attr]
                name = f"{own.name}.{function.name}"
                return Maker(file=own.file, function=name, expression=ast.unparse(given), says=_says(function))
        shown = value if not isinstance(value, ast.Name) else given
        maker = replace(self._holder(), expression=ast.unparse(shown), says="")
        if isinstance(value, ast.Attribute):
            owner = self.type_of(value.value)
            if owner in self.code.classes and owner not in self.code.contract:
                return replace(maker, via=(owner, value.attr))
        return maker

    def _holder(self) -> Maker:
        """Return the function that is being read."""
        if not self._function:
            return Maker(file=self.module.file, function="module", expression="", says="")
        inner = self._function[-1]
        return Maker(file=self.module.file, function=inner.name, expression="", says=_says(inner))
