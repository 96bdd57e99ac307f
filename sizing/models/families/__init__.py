"""Model families: one small file each. Adding a family touches its file and the two lists below.

A family is a module with a tuple ``ARCHITECTURES`` of the names in ``config.json`` that it understands and a function
``build(config, identity) -> ModelSpec``, put together from ``models.blocks``. What does not live here: parts that two
families share, and the table itself (``models.blocks.registry``).
"""

from __future__ import annotations

from sizing.models.blocks.registry import REGISTRY, FamilyModule, family_of, register
from sizing.models.families import (
    dbrx,
    decoders,
    deepseek_v4,
    dense,
    eagle,
    embedding,
    encoders,
    gemma4,
    glm5_next,
    gpt_oss,
    kimi_linear,
    laguna,
    lfm2,
    llama4,
    longcat,
    mamba,
    mamba_hybrid,
    medusa,
    mimo_v2,
    minicpm3,
    mla,
    mllama,
    moe,
    multimodal,
    nemotron_h,
    nemotron_nas,
    qwen3_next,
    sliding,
    whisper,
    zamba2,
)

FAMILIES: tuple[FamilyModule, ...] = (
    dbrx,
    decoders,
    deepseek_v4,
    dense,
    eagle,
    embedding,
    encoders,
    gemma4,
    glm5_next,
    gpt_oss,
    kimi_linear,
    laguna,
    lfm2,
    llama4,
    longcat,
    mamba,
    mamba_hybrid,
    medusa,
    mimo_v2,
    minicpm3,
    mla,
    mllama,
    moe,
    multimodal,
    nemotron_h,
    nemotron_nas,
    qwen3_next,
    sliding,
    whisper,
    zamba2,
)
for _family in FAMILIES:
    register(_family.ARCHITECTURES, _family.build)

__all__ = ["FAMILIES", "REGISTRY", "family_of"]
