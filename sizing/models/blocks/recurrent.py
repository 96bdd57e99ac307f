"""Layers with a recurrent state: Gated DeltaNet, KDA, Mamba, Mamba 2, short convolution. Weights and states.

Shapes are those of vLLM's ``MambaStateShapeCalculator`` and of its layers: heads and channels are divided by
tensor parallelism, groups of B and C stay whole where there is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sizing.errors import BadInput
from sizing.models.blocks.parts import LAYER, vector
from sizing.models.kv_groups import KvGroup, StateTensor
from sizing.models.weight_groups import Split, WeightGroup

STATE_BYTES: Mapping[str, int | None] = {"auto": None, "float32": 4, "bfloat16": 2, "float16": 2}
"""Type of a temporal state as the configuration names it -> bytes; None follows the model's type."""


def state_bytes_of(config: Mapping[str, object], key: str, default: str = "auto") -> int | None:
    """Return the bytes of one element of the temporal state, None where it follows the model's type."""
    stated = config.get(key)
    name = default if stated is None else stated
    if not isinstance(name, str) or name not in STATE_BYTES:
        raise BadInput(f"config.json: {key}", f"{str(name)[:40]!r}", limit=", ".join(STATE_BYTES))
    return STATE_BYTES[name]


def matrix(
    name: str, rows: int, columns: int, layers: Sequence[int], split: Split, *, path: str = "", kv_heads: int = 1
) -> WeightGroup:
    """Return a matrix with its split; quantised like other linear layers where it has a path."""
    return WeightGroup(
        name=name, rows=rows, columns=columns, split=split, layers=layers, path=path, kv_heads=kv_heads,
        linear=bool(path),
    )  # fmt: skip


def sharded_vector(name: str, length: int, layers: Sequence[int], *, element_bytes: int | None = None) -> WeightGroup:
    """Return a vector that tensor parallelism divides."""
    return WeightGroup(
        name=name, rows=length, columns=1, split="out", layers=layers, linear=False, element_bytes=element_bytes
    )


@dataclass(frozen=True, kw_only=True)
class DeltaNet:
    """Gated DeltaNet: heads of keys and values, elements of one head, taps of the convolution."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    taps: int

    @property
    def keys(self) -> int:
        """Elements of q, and of k."""
        return self.key_heads * self.key_dim

    @property
    def values(self) -> int:
        """Elements of v, and of the gate."""
        return self.value_heads * self.value_dim


def delta_net(net: DeltaNet, layers: Sequence[int], *, hidden: int, fused: bool) -> tuple[WeightGroup, ...]:
    """Return the weights of Gated DeltaNet layers; ``fused`` checkpoints keep qkvz and ba together."""
    path, qkv, values = LAYER + "linear_attn.", 2 * net.keys + net.values, net.values
    inner: tuple[tuple[str, int], ...] = (
        (("in_proj_qkvz", qkv + values), ("in_proj_ba", 2 * net.value_heads))
        if fused
        else (
            ("in_proj_qkv", qkv),
            ("in_proj_z", values),
            ("in_proj_b", net.value_heads),
            ("in_proj_a", net.value_heads),
        )
    )
    return (
        *(matrix(part, rows, hidden, layers, "out", path=path + part) for part, rows in inner),
        matrix("out_proj", hidden, values, layers, "in", path=path + "out_proj"),
        matrix("conv1d", qkv, net.taps, layers, "out"),
        sharded_vector("A_log", net.value_heads, layers, element_bytes=4),
        sharded_vector("dt_bias", net.value_heads, layers),
        vector("linear_norm", net.value_dim, layers),
    )


def delta_net_state(net: DeltaNet, layers: Sequence[int], *, temporal_bytes: int | None) -> KvGroup:
    """Return the state of Gated DeltaNet layers: the convolution's window and one matrix a value head."""
    window = StateTensor(elements=(2 * net.keys + net.values) * (net.taps - 1), window=net.taps - 1)
    temporal = StateTensor(elements=net.values * net.key_dim, element_bytes=temporal_bytes)
    return KvGroup(kind="state", layers=layers, state=(window, temporal))


@dataclass(frozen=True, kw_only=True)
class Mamba2:
    """Mamba 2: heads, elements of one head, groups of B and C, elements of the state, taps of the convolution."""

    heads: int
    head_dim: int
    groups: int
    state: int
    taps: int
    conv_bias: bool = True
    bias: bool = False
    norm: bool = True
    """True where the gated output is normed."""

    @property
    def inner(self) -> int:
        """Elements of x, and of the gate."""
        return self.heads * self.head_dim


def mamba2(net: Mamba2, layers: Sequence[int], *, hidden: int, path: str = LAYER + "mamba.") -> tuple[WeightGroup, ...]:
    """Return the weights of Mamba 2 layers; B and C of one group are on every rank."""
    inner, both = net.inner, 2 * net.groups * net.state
    groups = [
        matrix("in_proj", 2 * inner + net.heads, hidden, layers, "out", path=path + "in_proj"),
        matrix("in_proj_bc", both, hidden, layers, "kv", path=path + "in_proj", kv_heads=net.groups),
        matrix("conv1d", inner, net.taps, layers, "out"),
        matrix("conv1d_bc", both, net.taps, layers, "kv", kv_heads=net.groups),
        matrix("out_proj", hidden, inner, layers, "in", path=path + "out_proj"),
        sharded_vector("A", net.heads, layers, element_bytes=4),
        sharded_vector("D", net.heads, layers),
        sharded_vector("dt_bias", net.heads, layers),
    ]
    if net.norm:
        groups.append(sharded_vector("gated_norm", inner, layers))
    if net.conv_bias:
        groups += [
            sharded_vector("conv_bias", inner, layers),
            matrix("conv_bc_bias", both, 1, layers, "kv", kv_heads=net.groups),
        ]
    if net.bias:
        groups += [
            sharded_vector("in_bias", 2 * inner + net.heads, layers),
            matrix("in_bc_bias", both, 1, layers, "kv", kv_heads=net.groups),
            vector("out_bias", hidden, layers),
        ]
    return tuple(groups)


def mamba2_state(net: Mamba2, layers: Sequence[int], *, temporal_bytes: int | None = None) -> KvGroup:
    """Return the state of Mamba 2 layers: the convolution's window over x, B and C, and the temporal state."""
    positions = net.taps - 1
    window = StateTensor(
        elements=(net.inner + 2 * net.groups * net.state) * positions,
        groups=net.groups,
        group_elements=2 * net.state * positions,
        window=positions,
    )
    temporal = StateTensor(elements=net.inner * net.state, element_bytes=temporal_bytes)
    return KvGroup(kind="state", layers=layers, state=(window, temporal), checkpoint_blocks=1)


@dataclass(frozen=True, kw_only=True)
class Mamba1:
    """Mamba: inner elements, elements of the state, taps, rank of the time step."""

    inner: int
    state: int
    taps: int
    rank: int
    conv_bias: bool = True
    bias: bool = False
    norms: bool = False
    """True where dt, B and C have a norm each (Jamba)."""


def mamba1(net: Mamba1, layers: Sequence[int], *, hidden: int, path: str = LAYER + "mamba.") -> tuple[WeightGroup, ...]:
    """Return the weights of Mamba layers."""
    mixed = net.rank + 2 * net.state
    groups = [
        matrix("in_proj", 2 * net.inner, hidden, layers, "out", path=path + "in_proj"),
        matrix("conv1d", net.inner, net.taps, layers, "out"),
        matrix("x_proj", mixed, net.inner, layers, "in", path=path + "x_proj"),
        matrix("dt_proj", net.inner, net.rank, layers, "out", path=path + "dt_proj"),
        sharded_vector("dt_bias", net.inner, layers),
        WeightGroup(
            name="A", rows=net.inner, columns=net.state, split="out", layers=layers, linear=False, element_bytes=4
        ),
        sharded_vector("D", net.inner, layers),
        matrix("out_proj", hidden, net.inner, layers, "in", path=path + "out_proj"),
    ]
    if net.conv_bias:
        groups.append(sharded_vector("conv_bias", net.inner, layers))
    if net.bias:
        groups += [sharded_vector("in_bias", 2 * net.inner, layers), vector("out_bias", hidden, layers)]
    if net.norms:
        groups.append(vector("mixer_norms", mixed, layers))
    return tuple(groups)


def mamba1_state(net: Mamba1, layers: Sequence[int], *, temporal_bytes: int | None = None) -> KvGroup:
    """Return the state of Mamba layers: the convolution's window and the temporal state."""
    window = StateTensor(elements=net.inner * (net.taps - 1))
    temporal = StateTensor(elements=net.inner * net.state, element_bytes=temporal_bytes)
    return KvGroup(kind="state", layers=layers, state=(window, temporal))


def short_conv(layers: Sequence[int], *, hidden: int, taps: int, bias: bool = False) -> tuple[WeightGroup, ...]:
    """Return the weights of gated short convolutions."""
    path = LAYER + "conv."
    groups = [
        matrix("in_proj", 3 * hidden, hidden, layers, "out", path=path + "in_proj"),
        matrix("out_proj", hidden, hidden, layers, "in", path=path + "out_proj"),
        matrix("conv", hidden, taps, layers, "out"),
    ]
    if bias:
        groups += [sharded_vector("conv_biases", 4 * hidden, layers), vector("out_bias", hidden, layers)]
    return tuple(groups)


def short_conv_state(layers: Sequence[int], *, hidden: int, taps: int) -> KvGroup:
    """Return the state of short convolutions: their window, without a temporal state."""
    return KvGroup(
        kind="state", layers=layers, state=(StateTensor(elements=hidden * (taps - 1), window=taps - 1),)
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Kda:
    """Kimi Delta Attention: heads, elements of one head, taps of the convolution."""

    heads: int
    head_dim: int
    taps: int

    @property
    def inner(self) -> int:
        """Elements of q, k or v."""
        return self.heads * self.head_dim


def kda(net: Kda, layers: Sequence[int], *, hidden: int, path: str = LAYER + "self_attn.") -> tuple[WeightGroup, ...]:
    """Return the weights of KDA layers; the low-rank halves of decay and gate are on every rank."""
    inner, dim = net.inner, net.head_dim
    return (
        *(matrix(part, inner, hidden, layers, "out", path=path + part) for part in ("q_proj", "k_proj", "v_proj")),
        matrix("b_proj", net.heads, hidden, layers, "out", path=path + "b_proj"),
        *(matrix(part, dim, hidden, layers, "replicated", path=path + part) for part in ("f_a_proj", "g_a_proj")),
        *(matrix(part, inner, dim, layers, "out", path=path + part) for part in ("f_b_proj", "g_b_proj")),
        matrix("o_proj", hidden, inner, layers, "in", path=path + "o_proj"),
        WeightGroup(
            name="conv1d", rows=3 * inner, columns=net.taps, split="out", layers=layers, linear=False, element_bytes=4
        ),
        sharded_vector("A_log", net.heads, layers, element_bytes=4),
        sharded_vector("dt_bias", inner, layers, element_bytes=4),
        vector("o_norm", dim, layers),
    )


def kda_state(net: Kda, layers: Sequence[int], *, checkpoints: bool = False) -> KvGroup:
    """Return the state of KDA layers: the convolution's window and one matrix in float32 a head."""
    positions = net.taps - 1
    window = StateTensor(elements=3 * net.inner * positions, window=positions)
    temporal = StateTensor(elements=net.inner * net.head_dim, element_bytes=4)
    return KvGroup(kind="state", layers=layers, state=(window, temporal), checkpoint_blocks=int(checkpoints))
