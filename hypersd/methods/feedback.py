"""Human feedback learning: an adapter that raises the ratings of pictures and keeps their
structure.

Each step draws pictures from pure noise in a few moves, keeps the gradient of the last one, decodes
them and minimises ReLU(alpha_d - r_d) of every reward. A perceptual loss holds the structure: real
pictures are noised, x0 is predicted directly, and an instance segmenter must find in it what is in
the real one. The adapter is trained on the base, or on top of a distilled adapter (`onto`), which
is added to the base's weights first, so that the adapter holds the feedback alone.
Source: Hyper-SD (arXiv 2404.13686), Sec. 3.2, Eq. 13 to 15; UniFL (2404.05595) for the details.

# Differs from Hyper-SD: the segmenter (`hypersd.rewards.structure`); targets and weights of the
# rewards are not published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from hypersd.conditions import Text
from hypersd.merge import merge
from hypersd.methods.distillation import DistillationOptions, Weight
from hypersd.methods.preview import RENOISING, SAMPLERS
from hypersd.methods.rewarded import RewardedOptions, RewardedTask
from hypersd.recipe import Recipe
from hypersd.rewards.panel import Panel
from hypersd.rewards.structure import load_structure
from hypersd.student import add_adapter_to
from hypersd.task import STUDENT
from hypersd.validation import one_of

Moves = Annotated[int, Field(ge=1, le=8)]
Index = Annotated[int, Field(ge=0, le=999)]


@dataclass(frozen=True, kw_only=True)
class FeedbackOptions(DistillationOptions, RewardedOptions):
    """A recipe's `options`.

    onto: folder of a distilled adapter to train on top of, "" for the base alone; onto_weight: how
    much of it.  merged: export both as one adapter, instead of the feedback alone.  moves: of the
    sampler that draws from noise, fewest_moves to this many, the last one with gradient.
    sampler: that one, a key of `hypersd.methods.preview.SAMPLERS`: "jumps", or "consistency" on top
    of a method that is drawn as LCM is, with fresh noise before every move but the first.
    guidance: 1, as few-step students are drawn.  segmenter: folder, "" for no perceptual loss;
    perceptual: its weight; noise_low, noise_high: solver indices that real pictures are noised to.
    """

    guidance: Annotated[float, Field(ge=1, le=1)] = 1.0
    onto: str = ""
    onto_weight: Annotated[float, Field(ge=0, le=2)] = 1.0
    merged: bool = False
    moves: Moves = 4
    fewest_moves: Moves = 1
    sampler: Annotated[str, one_of(SAMPLERS)] = "jumps"
    segmenter: str = ""
    perceptual: Weight = 1.0
    noise_low: Index = 10
    noise_high: Index = 39

    def __post_init__(self) -> None:
        if not self.rewards and not self.segmenter:
            raise ValueError("neither rewards nor a segmenter; must have at least one")
        if self.fewest_moves > self.moves:
            few, most = self.fewest_moves, self.moves
            raise ValueError(f"fewest_moves={few}: must be at most moves={most}")


class FeedbackTask(RewardedTask):
    """A `hypersd.loop.Task` with the feedback adapter as its student."""

    options: FeedbackOptions

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        options = recipe.read_options(FeedbackOptions)
        self.panel = Panel(recipe.name, options.rewards, options.validation, device)
        self.sampler = options.sampler
        super().__init__(recipe, device, options)
        if recipe.gradient_checkpointing:
            self.base.vae.enable_gradient_checkpointing()
        self.watch(options.moves)

    def prepare(self) -> dict[str, nn.Module]:
        """Add the distilled adapter to the base, and load the segmenter."""
        self.base.vae.requires_grad_(False)
        if self.options.onto:
            onto, part = Path(self.options.onto), self.base.family.part
            add_adapter_to(self.base.network, onto, self.options.onto_weight, part)
        if self.options.segmenter:
            data = self.recipe.data
            self.structure = load_structure(self.options.segmenter, data, self.device)
        return {}

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The rewards' hinges on drawn pictures, and the perceptual loss on real ones."""
        recipe, rows = self.recipe, self.share
        batch = self.data.samples(self.base, step, recipe.batch, recipe.seed, rows)
        noise, z = (torch.randn(batch.shape, generator=rng)[rows].to(self.device) for _ in range(2))
        span = self.options.fewest_moves, self.options.moves + 1
        moves = int(torch.randint(*span, (1,), generator=rng))
        low, high = self.options.noise_low, min(self.options.noise_high + 1, self.grid.points)
        index = torch.randint(low, high, (recipe.batch,), generator=rng)[rows]
        total, scalars = torch.zeros((), device=self.device), dict[str, float]()
        if self.panel.rewards:
            between = moves - 1 if self.options.sampler == RENOISING else 0
            fresh = [
                torch.randn(batch.shape, generator=rng)[rows].to(self.device)
                for _ in range(between)
            ]
            images = self.base.pictures(self.draw(z, batch.text, moves, fresh))
            total, scalars = self.panel.rated(images, batch.captions)
        if self.options.segmenter:
            x0 = batch.x0.to(self.device)
            predicted = self.predicted(x0, noise, index, batch.text)
            with torch.autocast(self.device.type, enabled=False):
                real = partial(self.base.pictures, x0)
                structure = self.structure.loss(predicted, real, batch.rows).mean()
            total = total + self.options.perceptual * structure
            scalars["structure"] = float(structure.detach())
        return total, scalars

    def draw(self, z: Tensor, text: Text, moves: int, fresh: Sequence[Tensor] = ()) -> Tensor:
        """x0 from pure noise in `moves` moves; only the last one has a gradient.

        fresh: noise for each move but the last, if the sampler adds noise.
        """
        timesteps, network = self.grid.inference(moves), self.student.network(STUDENT)

        def model(x: Tensor, t: Tensor) -> Tensor:
            is_last = bool((t == timesteps[-1]).all())
            with torch.set_grad_enabled(is_last and torch.is_grad_enabled()):
                return network(x, t, text)

        sample = SAMPLERS[self.options.sampler]
        return sample(model, z, timesteps, self.schedule, noise=fresh)

    def predicted(self, x0: Tensor, noise: Tensor, index: Tensor, text: Text) -> Tensor:
        """The student's x0 of noised real latents, with gradient.

        index: [B] solver points to noise to.
        """
        t = self.grid.timesteps[index].to(self.device)
        x_t = self.schedule.diffuse(x0, noise, t)
        prediction = self.student.predict(STUDENT, x_t, t, text)
        return self.base.pictures(self.schedule.x0(x_t, prediction, t))

    def export(self, out: Path) -> dict[str, Any]:
        """Write the feedback adapter, alone or merged; returns what a model card says of it."""
        figures, options = super().export(out), self.options
        if options.merged and options.onto:
            path = merge([(Path(options.onto), options.onto_weight), (out, 1.0)], out)
            figures["bytes"] = path.stat().st_size
        return figures

    def facts(self) -> dict[str, Any]:
        """For the card: the adapter that it was trained on top of."""
        options = self.options
        return {"onto": options.onto, "onto_weight": options.onto_weight, "merged": options.merged,
                "sampler": options.sampler, **super().facts()}  # fmt: skip


def build(recipe: Recipe, device: torch.device) -> FeedbackTask:
    """The task of a recipe with `method: feedback`."""
    return FeedbackTask(recipe, device)
