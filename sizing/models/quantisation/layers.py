"""How quantised linear layers are stored, group of layers by group, and the bytes of a matrix as vLLM holds it.

A ``Scheme`` is the format of one matrix: bits, what one scale covers, zero points, global scales. A
``Quantisation`` gives every module its scheme: layers that are ignored stay in the model's type, then the first
group that names the module, then the group for all linear layers. Bytes are those after loading, which differ from
the file where vLLM frees or widens something (vLLM 0.32, ``process_weights_after_loading``):

- symmetric GPTQ keeps zero points only in experts that Marlin runs, AWQ keeps them packed; both are repacked in place;
- experts of GPTQ and AWQ whose width the group does not divide run on another kernel, with smaller groups (MoeWNA16);
- doubly quantised scales of bitsandbytes become float32 (since 0.9.2, pull request 19742);
- 4-bit experts with blocks of 32 (MXFP4) are padded to the tiles of the kernel that runs them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal

from sizing.models.quantisation.module_names import ModuleNames

Granularity = Literal["none", "tensor", "channel", "group", "block", "flat"]
"""What one scale covers: nothing, the matrix, an output row, a group of a row's columns, a block of rows and
columns, or a run of elements across rows (bitsandbytes)."""
Layout = Literal["checkpoint", "marlin", "triton"]
"""Padding of MXFP4 experts: as in the file; Marlin, TRT-LLM (every card but Hopper); Triton kernels (Hopper)."""

MXFP4_ALIGNMENT = {"hidden": 256, "intermediate": 128}
"""Marlin and TRT-LLM round the experts' two sizes up (``mxfp4_round_up_hidden_size_and_intermediate_size``)."""
MXFP4_TRITON = {"contraction": 256, "intermediate": 64}
"""Triton on Hopper rounds the experts' width to 64 and pads the values, not the scales, along the contraction;
gpt-oss-120b and -20b on H100 (64.38 and 13.47 GiB) are met within 0.1 %."""


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """Format of one quantised matrix; ``bits`` 16 means that it stays in the model's type."""

    bits: int = 16
    kind: str = "none"
    """fp8, int, nvfp4, mxfp4, mxfp8, nf4: the number format."""
    granularity: Granularity = "none"
    scale_bytes: float = 0
    """Bytes of one scale as loaded."""
    stored_scale_bytes: float | None = None
    """Bytes of one scale in the file where they differ (scales that are quantised themselves)."""
    group_size: int = 0
    """Columns (``group``) or elements (``flat``) of one scale; 0 for a whole row."""
    block_rows: int = 0
    block_columns: int = 0
    zero_points: bool = False
    global_scales: int = 0
    """Scales in float32 of the whole matrix, in addition to those of its groups."""
    column_order: bool = False
    """GPTQ with ``desc_act``: two int32 per column for the order of activations (refused by vLLM 0.32)."""
    experts: Literal["alike", "gptq", "awq"] = "alike"
    """Rules of vLLM for routed experts in groups: those of its GPTQ or AWQ kernels, or as other layers."""

    @property
    def plain(self) -> bool:
        """True for a matrix in the model's own type."""
        return self.kind == "none"


DOWN = (".down_proj", ".w2", ".down_proj_blocks")
"""Ends of the paths of experts' matrices whose columns, not rows, are the experts' width."""
SMALLEST_BLOCK = 32
"""vLLM refines the scales of fp8 experts no further."""
PLAIN = Scheme()
NOBODY = ModuleNames()


@dataclass(frozen=True, kw_only=True)
class LayerGroup:
    """Modules that share a scheme. ``modules`` None: every linear layer; ``experts_only``: routed experts."""

    scheme: Scheme
    modules: ModuleNames | None = None
    experts_only: bool = False

    def holds(self, path: str, expert: bool) -> bool:
        """Return True when the module at ``path`` belongs to the group."""
        return (expert or not self.experts_only) and (self.modules is None or self.modules.match(path))


@dataclass(frozen=True, kw_only=True)
class Quantisation:
    """Quantisation of all linear layers of a checkpoint.

    ``groups`` are tried in order; ``ignored`` goes before them. ``head`` True: the output head is quantised too.
    """

    method: str
    groups: tuple[LayerGroup, ...] = ()
    ignored: ModuleNames = NOBODY
    stored_plain: ModuleNames = NOBODY
    """Modules that the checkpoint's files hold in plain form although no list says so."""
    head: bool = False
    layout: Layout = "marlin"
    """Padding of MXFP4 experts; ``quantisation.for_engine`` chooses it."""

    def __hash__(self) -> int:
        """Hash few fields: the description is a key of caches, and equality still compares all of it."""
        return hash((self.method, len(self.groups), self.ignored, self.stored_plain))

    @cached_property
    def main(self) -> Scheme:
        """Scheme of most layers: of the first group for all linear layers, else of the first group."""
        broad = [group for group in self.groups if group.modules is None]
        return (broad or list(self.groups) or [LayerGroup(scheme=PLAIN)])[0].scheme

    @property
    def bits(self) -> int:
        """Bits of one weight in most layers; 16 when not quantised."""
        return self.main.bits

    @property
    def granularity(self) -> Granularity:
        """What one scale covers in most layers."""
        return self.main.granularity

    @cached_property
    def block_rows(self) -> int:
        """Rows that one scale covers where scales cover blocks; 0 elsewhere."""
        return max((group.scheme.block_rows for group in self.groups), default=0)

    @cached_property
    def by_layer(self) -> bool:
        """True when layers may differ: a list names layers by number."""
        lists = [
            self.ignored,
            self.stored_plain,
            *(group.modules for group in self.groups if group.modules is not None),
        ]
        return any(names.by_layer for names in lists)

    def skips(self, path: str) -> bool:
        """Return True when the checkpoint leaves the module at ``path`` alone."""
        return self.ignored.match(path) or self.stored_plain.match(path)

    def scheme_of(self, path: str, *, expert: bool | None = None) -> Scheme:
        """Return the scheme of the module at ``path`` (with numbers for layer and expert)."""
        return _scheme_of(self, path, ".experts" in path if expert is None else expert)


NONE = Quantisation(method="none")


@lru_cache(maxsize=65536)
def _scheme_of(quantisation: Quantisation, path: str, expert: bool) -> Scheme:
    if quantisation.skips(path):
        return PLAIN
    return next((group.scheme for group in quantisation.groups if group.holds(path, expert)), PLAIN)


def group_bytes(
    quantisation: Quantisation | None,
    dtype_bytes: int,
    *,
    rows: int,
    columns: int,
    count: int,
    layers: Sequence[int],
    path: str,
    expert: bool | None = None,
    layout: Layout | None = None,
) -> int:
    """Bytes of a ``rows`` x ``columns`` matrix, ``count`` times in each of ``layers``, as loaded on one rank.

    ``rows`` are outputs and ``columns`` inputs of this rank; ``path`` is the module with ``{i}`` for the layer;
    ``expert`` is True for routed experts (default: from the path); ``layout`` overrides that of the quantisation.
    """
    plain = rows * columns * dtype_bytes
    if quantisation is None or not quantisation.groups:
        return plain * count * len(layers)
    alike = not quantisation.by_layer or "{i}" not in path
    first, times = (tuple(layers)[:1], len(layers)) if alike else (layers, 1)
    routed = ".experts" in path if expert is None else expert
    layout = layout or quantisation.layout
    total = 0
    for layer in first:
        scheme = quantisation.scheme_of(path.replace("{i}", str(layer)), expert=routed)
        if routed and layout != "checkpoint":
            scheme = _of_experts(scheme, rows, columns, path)
        total += plain if scheme.plain else matrix_bytes(scheme, rows, columns, path=path, layout=layout)
    return total * times * count


@lru_cache(maxsize=16384)
def matrix_bytes(scheme: Scheme, rows: int, columns: int, *, path: str = "", layout: Layout = "marlin") -> int:
    """Bytes of one quantised matrix with its scales and zero points; ``layout`` checkpoint: as in the file."""
    if scheme.kind == "mxfp4":
        return _mxfp4_bytes(rows, columns, path, layout)
    stored = layout == "checkpoint" and scheme.stored_scale_bytes is not None
    scale_bytes = scheme.stored_scale_bytes if stored and scheme.stored_scale_bytes is not None else scheme.scale_bytes
    scales = _scales(scheme, rows, columns)
    total = -(-rows * columns * scheme.bits // 8) + -int(-scales * scale_bytes // 1) + 4 * scheme.global_scales
    if scheme.zero_points:
        total += -(-scales * scheme.bits // 8)
    if scheme.column_order:
        total += 8 * columns
    return total


def _of_experts(scheme: Scheme, rows: int, columns: int, path: str) -> Scheme:
    """Return the scheme of one expert's share, where the kernels of experts have rules of their own."""
    if scheme.granularity == "block":
        return _refined(scheme, rows, columns, path)
    if scheme.experts != "alike" and scheme.group_size > 0:
        return _regrouped(scheme, columns if path.endswith(DOWN) else rows)
    return scheme


@lru_cache(maxsize=4096)
def _regrouped(scheme: Scheme, inner: int) -> Scheme:
    """Return whole groups with their zero points (Marlin), else groups halved until they divide (``moe_wna16.py``)."""
    if inner % scheme.group_size == 0:
        return replace(scheme, zero_points=scheme.zero_points or scheme.experts == "gptq")
    size = scheme.group_size
    while inner % size and size % 2 == 0 and size > SMALLEST_BLOCK:
        size //= 2
    return replace(scheme, group_size=size)


@lru_cache(maxsize=4096)
def _refined(scheme: Scheme, rows: int, columns: int, path: str) -> Scheme:
    """Return smaller blocks where those of an expert do not divide its share (``refine_fp8_moe_block_shape``)."""
    inner = columns if path.endswith(DOWN) else rows
    block = math.gcd(scheme.block_rows, scheme.block_columns, rows, columns)
    if (inner % scheme.block_rows == 0 and inner % scheme.block_columns == 0) or block < SMALLEST_BLOCK:
        return scheme
    return replace(scheme, block_rows=block, block_columns=block)


def blocks_divide(quantisation: Quantisation, width: int, ranks: int, *, path: str, expert: bool) -> bool:
    """Return True when ``ranks`` shares of ``width`` rows or columns keep to the blocks of the scales.

    vLLM refuses shares that cut a block (``validate_fp8_block_shape``), but refines the blocks of experts down to
    32 (``refine_fp8_moe_block_shape``), and so the groups of 4-bit experts (``moe_wna16.py``). A matrix that is no
    multiple of the block to begin with is not split by it.
    """
    if ranks == 1 or not path:
        return True
    scheme = quantisation.scheme_of(path, expert=expert)
    if expert and scheme.experts != "alike" and scheme.group_size > 0:
        return math.gcd(scheme.group_size, width // ranks) >= min(scheme.group_size, SMALLEST_BLOCK)
    if scheme.granularity != "block":
        return True
    block = quantisation.block_rows
    if expert:
        return math.gcd(block, width // ranks) >= SMALLEST_BLOCK
    return width % block != 0 or width % (ranks * block) == 0


def _scales(scheme: Scheme, rows: int, columns: int) -> int:
    """Number of scales of a matrix."""
    if scheme.granularity == "tensor":
        return 1
    if scheme.granularity == "block":
        return -(-rows // scheme.block_rows) * -(-columns // scheme.block_columns)
    if scheme.granularity == "flat":
        return -(-rows * columns // scheme.group_size)
    if scheme.granularity == "group" and scheme.group_size > 0:
        return rows * -(-columns // scheme.group_size)
    return rows


def _mxfp4_bytes(rows: int, columns: int, path: str, layout: Layout) -> int:
    """Half a byte an element and a byte per 32 along the columns, padded as the kernel needs it."""
    down = path.endswith(DOWN)
    halves = 2 if path.endswith((".gate_up_proj", ".w13", ".gate_up_proj_blocks")) else 1
    wide = columns
    if layout == "marlin":
        hidden, inner = MXFP4_ALIGNMENT["hidden"], MXFP4_ALIGNMENT["intermediate"]
        rows = _up(rows, hidden if down else inner * halves)
        wide = columns = _up(columns, inner if down else hidden)
    elif layout == "triton":
        inner = MXFP4_TRITON["intermediate"]
        rows = rows if down else _up(rows, inner * halves)
        columns = _up(columns, inner) if down else columns
        wide = _up(columns, MXFP4_TRITON["contraction"])
    return -(-rows * wide // 2) + rows * -(-columns // 32)


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
