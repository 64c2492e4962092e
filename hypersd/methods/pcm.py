"""PCM: maps every point of a phase to the phase's lower edge.

The trajectory is cut into M phases (`segments`); student and target both jump to the edge t_b of
the student's phase, and at a phase's first point the goal is x_prev itself. The adversarial part
diffuses both results from t_b to a random t of the phase and lets heads on the frozen base's
features tell them apart, with hinge losses.
Source: PCM (arXiv 2405.18407), Sec. 3.1 to 3.3, and its release.

# Differs from PCM: phases by solver index, whose edges are where few-step inference starts
# (theirs, 0, 239, 499, 739 of 50 points, are not); student and critic take turns in every step
# instead of every second one; one guidance scale.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hypersd.critic import PatchHeads
from hypersd.losses import hinge_critic_loss, hinge_generator_loss
from hypersd.methods.consistency import ConsistencyPair, Draw
from hypersd.methods.segmented import Segmented, SegmentedTask
from hypersd.recipe import Recipe
from hypersd.student import TEACHER


class Pcm(Segmented):
    """s is the lower edge of t's own phase."""

    def endpoint(self, step: int, draw: Draw) -> Tensor:
        """The lower edge of the phase."""
        grid = self.grid_at(step)
        return grid.previous[grid.first(draw.index, self.segments(step))]


class PcmTask(SegmentedTask):
    """A `hypersd.loop.Task`; the critic is heads on the base's own features, no copy of it."""

    betas = (0.0, 0.999)

    def make_critic(self) -> PatchHeads:
        """A head for each block."""
        shapes = self.base.family.feature_shapes(self.base.network)
        self.heads = PatchHeads([width for width, _ in shapes])
        return self.heads

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """The hinge loss, the mean over a head's patches."""
        return hinge_critic_loss(real, fake)

    def generator_loss(self, fake: Tensor) -> Tensor:
        """The hinge loss of the student, the mean over a head's patches."""
        return hinge_generator_loss(fake)

    def logits(self, x_s: Tensor, pair: ConsistencyPair, step: int) -> list[Tensor]:
        """The heads' logits of points that are diffused within their phase, to one random level:
        [B, patches] each."""
        assert pair.draw.fresh is not None
        phases = self.method.stage(step).segments
        level = self.schedule.clock.above(pair.s, pair.draw.end, phases)
        x_t = self.schedule.renoise(x_s, pair.draw.fresh, level, pair.s)
        found: list[Tensor] = self.heads(self.student.features(TEACHER, x_t, level, pair.text))
        return found

    def draw(self, step: int, shape: torch.Size, rng: torch.Generator) -> Draw:
        """The draw, with the noise for the critic's inputs."""
        draw = super().draw(step, shape, rng)
        return replace(draw, fresh=torch.randn(shape, generator=rng))


def build(recipe: Recipe, device: torch.device) -> PcmTask:
    """The task of a recipe with `method: pcm`."""
    return PcmTask(recipe, device, Pcm)
