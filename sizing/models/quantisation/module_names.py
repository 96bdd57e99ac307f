"""Which modules a checkpoint's lists mean: ignore lists and targets, against the module paths of a model.

One module has several names: ``model.layers.3.mlp.gate_proj`` in the checkpoint is part of ``mlp.gate_up_proj`` in
vLLM, and is under ``language_model`` in a multimodal model. A list may use any of them, so a path is tried under
all. How an entry is read differs by method, as in vLLM's ``is_layer_skipped`` and ``find_matched_target``:
whole names (and what is below them), parts of names, single components, globs, and ``re:`` patterns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Literal

from sizing.errors import BadInput
from sizing.models.quantisation.name_patterns import NamePattern, UnreadablePatternError

MOST_NAMES = 20_000
MOST_PATTERNS = 500
"""Globs, parts and patterns without a layer number; each costs time for every module."""
LONGEST_NAME = 400
LONGEST_PATTERNS = 4_000
"""Characters of all patterns of one list together."""

WRAPPERS = frozenset({"model", "backbone", "language_model", "text_model", "thinker", "llm"})
"""Leading components that differ between a checkpoint, vLLM and a multimodal wrapper."""
FUSED = {
    "q_proj": "qkv_proj",
    "k_proj": "qkv_proj",
    "v_proj": "qkv_proj",
    "gate_proj": "gate_up_proj",
    "up_proj": "gate_up_proj",
    "w1": "w13",
    "w3": "w13",
    "q_a_proj": "fused_qkv_a_proj",
    "kv_a_proj_with_mqa": "fused_qkv_a_proj",
    "in_proj_qkv": "in_proj_qkvz",
    "in_proj_z": "in_proj_qkvz",
    "in_proj_b": "in_proj_ba",
    "in_proj_a": "in_proj_ba",
}
"""Last component of a checkpoint's name -> the fused module of vLLM that holds it."""
LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d{1,6})(?:\.|$)")
EXPERT = re.compile(r"(^|\.)experts\.\d{1,6}(?=\.|$)")

Reading = Literal["names", "parts", "components"]


@dataclass(frozen=True, kw_only=True)
class ModuleNames:
    """A list of modules as a checkpoint writes it.

    ``reading``: ``names`` (an entry is a module and all below it), ``parts`` (an entry may be any part of a name) or
    ``components`` (an entry may also be one component of a name).
    """

    entries: tuple[str, ...] = ()
    reading: Reading = "names"

    def __hash__(self) -> int:
        """Hash few fields: the list is part of the key of caches, and equality still compares all of it."""
        return hash((len(self.entries), self.entries[:1], self.reading))

    def match(self, path: str) -> bool:
        """Return True when the list means the module at ``path`` (layer and expert as numbers)."""
        if not self.entries:
            return False
        names = tuple(_names(path))
        if any(ancestor in self._whole for name in names for ancestor in _ancestors(_plain(name))):
            return True
        if self.reading == "components" and not self._bare.isdisjoint(path.split(".")):
            return True
        full = [variant for name in names for variant in _variants(name)]
        return (
            self._by_part(path, full)
            or any(name.startswith(self._prefixes) for name in full)
            or any(fnmatchcase(name, glob) for name in full for glob in self._globs)
            or any(pattern.matches(name) for pattern in self._patterns for name in full)
        )

    def _by_part(self, path: str, full: Sequence[str]) -> bool:
        if self.reading != "parts":
            return False
        layer = LAYER.search(path)
        parts = (*self._parts.get("", ()), *(self._parts.get(layer[1], ()) if layer else ()))
        return any(part in name for part in parts for name in full)

    @property
    def by_layer(self) -> bool:
        """True when an entry may distinguish layers (it holds a digit)."""
        return self._digits

    @cached_property
    def _digits(self) -> bool:
        return any(any(letter.isdigit() for letter in EXPERT.sub("", e)) or "\\d" in e for e in self.entries)

    @cached_property
    def _literals(self) -> tuple[str, ...]:
        return tuple(e for e in self.entries if not e.startswith("re:") and not _is_glob(e))

    @cached_property
    def _whole(self) -> frozenset[str]:
        return frozenset(_plain(EXPERT.sub(r"\1experts.0", e.removesuffix(".weight"))) for e in self._literals)

    @cached_property
    def _bare(self) -> frozenset[str]:
        return frozenset(e for e in self._literals if "." not in e)

    @cached_property
    def _parts(self) -> dict[str, tuple[str, ...]]:
        """Parts of names by the layer they name ("" for none), so that a path is matched only against its own."""
        found: dict[str, list[str]] = {}
        for entry in self._literals:
            layer = re.search(r"layers\.(\d{1,6})\.", entry)
            found.setdefault(layer[1] if layer else "", []).append(entry)
        return {layer: tuple(sorted(set(parts))) for layer, parts in found.items()}

    @cached_property
    def _prefixes(self) -> tuple[str, ...]:
        """Globs whose only wildcard is a star at the end; most are."""
        return tuple(
            e[:-1] for e in self.entries if not e.startswith("re:") and e.endswith("*") and not _is_glob(e[:-1])
        )

    @cached_property
    def _globs(self) -> tuple[str, ...]:
        return tuple(e for e in self.entries if not e.startswith("re:") and _is_glob(e[:-1] + e[-1:].replace("*", "")))

    @cached_property
    def _patterns(self) -> tuple[NamePattern, ...]:
        return tuple(NamePattern(e.removeprefix("re:")) for e in self.entries if e.startswith("re:"))


def module_names(where: str, stated: object, *, reading: Reading = "names", patterns: bool = False) -> ModuleNames:
    """Read a list of modules; BadInput when it is no list of names, or holds a pattern that cannot be read.

    ``patterns`` True: every entry is a regular expression, with or without ``re:``.
    """
    if stated is None:
        return ModuleNames()
    if not isinstance(stated, Sequence) or isinstance(stated, str) or len(stated) > MOST_NAMES:
        raise BadInput(where, "its list of unquantised modules is not a list of names", limit=f"{MOST_NAMES} names")
    entries = tuple(dict.fromkeys(_entry(where, entry, patterns) for entry in stated))
    names = ModuleNames(entries=entries, reading=reading)
    costly = [e for e in entries if e.startswith("re:")] + list(names._globs)
    others = len(names._prefixes) + (len(names._parts.get("", ())) if reading == "parts" else 0)
    if len(costly) + others > MOST_PATTERNS or sum(map(len, costly)) > LONGEST_PATTERNS:
        raise BadInput(
            where, f"{len(costly) + others} patterns for unquantised modules",
            limit=f"{MOST_PATTERNS} patterns of together {LONGEST_PATTERNS} characters",
            way_out="supply the weights per GPU with --weights-gib",
        )  # fmt: skip
    return names


def _entry(where: str, entry: object, pattern: bool) -> str:
    """Return one entry; BadInput for what is no name and for a pattern that cannot be read."""
    way_out = "supply the weights per GPU with --weights-gib"
    shown = f"the unquantised module {str(entry)[:60]!r} cannot be read"
    if not isinstance(entry, str) or not 0 < len(entry) <= LONGEST_NAME or not entry.isprintable():
        raise BadInput(where, shown, limit=f"1 to {LONGEST_NAME} printable characters", way_out=way_out)
    text = f"re:{entry}" if pattern and not entry.startswith("re:") else entry
    if text.startswith("re:"):
        try:
            NamePattern(text.removeprefix("re:"))
        except UnreadablePatternError as error:
            raise BadInput(where, f"{shown}: {error}", way_out=way_out) from None
    return text


def _is_glob(entry: str) -> bool:
    return any(letter in entry for letter in "*?[")


def _plain(name: str) -> str:
    """Drop the leading components that differ between checkpoint, vLLM and wrapper."""
    components = name.split(".")
    first = 0
    while first < len(components) - 1 and components[first] in WRAPPERS:
        first += 1
    return ".".join(components[first:])


def _names(path: str) -> Iterator[str]:
    """Names of the module at ``path``: its own, the fused one, and an expert's without its number."""
    own = EXPERT.sub(r"\1experts.0", path)
    parent, _, last = own.rpartition(".")
    fused = f"{parent}.{FUSED[last]}" if last in FUSED else ""
    for name in (own, fused):
        if name:
            yield name
            if ".experts.0" in name:
                yield name.replace(".experts.0", ".experts")


def _ancestors(name: str) -> Iterator[str]:
    components = name.split(".")
    for count in range(len(components), 0, -1):
        yield ".".join(components[:count])


def _variants(name: str) -> tuple[str, ...]:
    plain = _plain(name)
    if "layers." not in plain:
        return plain, f"model.{plain}", f"language_model.{plain}"
    return plain, f"model.{plain}", f"language_model.model.{plain}", f"model.language_model.{plain}"
