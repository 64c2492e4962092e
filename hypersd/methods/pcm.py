"""PCM: every point of a phase lands on the phase's lower edge.

The trajectory is cut into M phases (`segments`); student and target both jump to the edge t_b of
the student's phase, and at a phase's first point the goal is x_prev itself. The adversarial part
diffuses both landings from t_b to a random t of the phase and lets heads on the frozen base's
features tell them apart, with hinge losses.
Source: PCM (arXiv 2405.18407), Sec. 3.1 to 3.3, and its release.

# Differs from PCM: phases by solver index, whose edges are where few-step inference starts
# (theirs, 0, 239, 499, 739 of 50 points, are not); student and critic take turns in every step
# instead of every second one; one guidance scale.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hypersd.critic import PatchHeads, encode_all
from hypersd.losses import hinge_critic_loss, hinge_fooling_loss
from hypersd.methods.consistency import ConsistencyOptions, Draw
from hypersd.methods.tscd import CRITIC, Tscd, TscdTask
from hypersd.recipe import Recipe
from hypersd.student import TEACHER


class Pcm(Tscd):
    """Land on the lower edge of t's own phase."""

    options: ClassVar[type[ConsistencyOptions]] = ConsistencyOptions

    def endpoint(self, step: int, draw: Draw) -> Tensor:
        """The lower edge of the phase."""
        first = self.grid.first(draw.index, self.stage(step).segments)
        return self.grid.previous[first]


class PcmTask(TscdTask):
    """A `hypersd.loop.Task`; the critic is heads on the base's own features, no copy of it."""

    method: Pcm

    def networks(self) -> dict[str, nn.Module]:
        """The heads, where a stage has an adversarial weight."""
        if not any(stage.adversarial for stage in self.method.stages):
            return {}
        widths = [int(n) for n in self.base.unet.config.block_out_channels]
        with torch.random.fork_rng():
            torch.manual_seed(self.recipe.seed)
            self.heads = PatchHeads([*widths, widths[-1]]).to(self.device)
        return {CRITIC: self.heads}

    def groups(self) -> list[dict[str, Any]]:
        """The student's adapter, and the heads."""
        groups: list[dict[str, Any]] = [{"params": self.student.parameters("student")}]
        if CRITIC in self.modules:
            rate = self.options.critic_lr or self.recipe.lr
            critic = {"role": CRITIC, "params": list(self.heads.parameters()), "lr": rate}
            groups.append(critic | {"betas": (0.0, 0.999)})
        return groups

    def logits(self, x_s: Tensor) -> Tensor:
        """The heads' logits of landings that are diffused within their phase: [B, all patches]."""
        at, level = self.landing, self.level[self.share].to(self.device)
        fresh = self.fresh[self.share].to(self.device)
        x_t = self.schedule.renoise(x_s, fresh, level, at.s)
        with self.student.using(TEACHER):
            features = encode_all(self.base.unet, x_t, level, at.text)
        found: list[Tensor] = self.heads(features)
        self.sizes = [logits.shape[1] for logits in found]
        return torch.cat(found, dim=1)

    def telling(self, real: Tensor, fake: Tensor) -> Tensor:
        """The critic's hinge loss, the mean over heads of their means over patches."""
        parts = zip(*(torch.split(v, self.sizes, 1) for v in (real, fake)), strict=True)
        return torch.stack([hinge_critic_loss(r, f) for r, f in parts]).mean(0)

    def fooling(self, fake: Tensor) -> Tensor:
        """The student's, likewise."""
        return torch.stack([hinge_fooling_loss(f) for f in torch.split(fake, self.sizes, 1)]).mean(
            0
        )

    def _draw(self, shape: torch.Size, rng: torch.Generator) -> Draw:
        """Also the level t of the phase, [B], that landings are judged at, and their noise."""
        draw = super()._draw(shape, rng)
        self.fresh = torch.randn(shape, generator=rng)
        edge = self.method.endpoint(self._step, draw)
        width = self.schedule.steps // self.method.stage(self._step).segments
        self.level = (edge + (draw.end * width).long()).clamp(max=self.schedule.steps - 1)
        return draw

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """As TSCD's: the distance, and what the critic makes of the landing."""
        self._step = step
        return super().loss(step, rng)


def build(recipe: Recipe, device: torch.device) -> PcmTask:
    """The task of a recipe with `method: pcm`."""
    return PcmTask(recipe, device, Pcm)
