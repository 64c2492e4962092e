"""The evaluators' picture tower: a small hybrid of convolutions and a vision transformer that timm
builds by name, so that open_clip loads the evaluators from their config alone.

Convolutions recognise each thing, attention over 8x8 tokens their arrangement.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from timm.layers import HybridEmbed
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from hypersd.shapes import nets

NAME = "shapes_hybrid"
STEM = "patch_embed.backbone"
WIDTHS = {f"{STEM}.1": 24, f"{STEM}.5": 56}  # channels after a part of the stem;
# the first has 32x32 cells, the second 16x16

default_cfgs = generate_default_cfgs(
    {f"{NAME}.untrained": {"input_size": (3, 64, 64), "first_conv": f"{STEM}.0.0",
                           "classifier": "head"}}
)  # fmt: skip


@register_model  # type: ignore[untyped-decorator]
def shapes_hybrid(pretrained: bool = False, **options: Any) -> VisionTransformer:
    """A vision transformer on 8x8 tokens of a convolutional stem's 16x16 cells, pooled by one
    learned query; for pictures of 64x64 pixels."""
    narrow, wide = WIDTHS.values()
    first = nets.down(3, narrow, 5)
    nets.see_fine_detail(first[0])
    stem = nn.Sequential(
        first,
        nets.Residual(narrow),
        nets.down(narrow, wide),
        nets.Residual(wide, 1),
        nets.Residual(wide, 2),
        nets.Residual(wide, 1),
    )
    parts = {
        "img_size": 64, "patch_size": 2, "embed_dim": 128, "depth": 3, "num_heads": 4,
        "mlp_ratio": 2.0, "class_token": False, "global_pool": "map",
        "embed_layer": partial(HybridEmbed, backbone=stem),
    }  # fmt: skip
    model: VisionTransformer = build_model_with_cfg(
        VisionTransformer, NAME, pretrained, **(parts | options)
    )
    return model
