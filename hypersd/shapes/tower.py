"""The evaluators' picture tower: a small ResNet that timm builds by name, so that open_clip loads
the evaluators from their config alone."""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, ResNet

from hypersd.shapes import nets

NAME = "shapes_resnet"
WIDTHS = {"act1": 48, "layer1": 48, "layer2": 64, "layer3": 96}  # channels after a part;
# act1 has 32x32 cells, layer1 16x16, layer2 8x8, layer3 4x4

default_cfgs = generate_default_cfgs(
    {f"{NAME}.untrained": {"input_size": (3, 64, 64), "pool_size": (4, 4), "first_conv": "conv1.0",
                           "classifier": "fc"}}
)  # fmt: skip


@register_model  # type: ignore[untyped-decorator]
def shapes_resnet(pretrained: bool = False, **options: Any) -> ResNet:
    """ResNet of basic blocks on 64x64 pictures: cells of 4 pixels first, 4x4 cells at the end."""
    parts = {
        "block": BasicBlock, "layers": (2, 1, 1, 1), "channels": (48, 64, 96, 128),
        "stem_type": "deep", "stem_width": 24, "replace_stem_pool": True, "output_stride": 16,
    }  # fmt: skip
    model: ResNet = build_model_with_cfg(ResNet, NAME, pretrained, **parts, **options)
    nets.see_fine_detail(model.conv1[0])
    return model
