"""Human feedback learning: an adapter that makes pictures rated higher, structure kept.

Each step draws pictures from pure noise in a few moves, keeps the gradient of the last one, decodes
them and asks for ReLU(alpha_d - r_d) of every reward. A perceptual loss holds the structure: real
pictures are noised, x0 is predicted directly, and an instance segmenter must find in it what is in
the real one. The adapter is trained on the base, or on top of a distilled adapter (`on`), which is
added to the base's weights first, so that what feedback adds is told from what distillation did.
Source: Hyper-SD (arXiv 2404.13686), Sec. 3.2, Eq. 13 to 15; UniFL (2404.05595) for the details.

# Differs from Hyper-SD: the segmenter (`hypersd.rewards.structure`); targets and weights of the
# rewards are not published.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hypersd.base import load_base
from hypersd.conditions import Text
from hypersd.data import open_dataset
from hypersd.errors import UsageError
from hypersd.methods.options import read
from hypersd.methods.preview import Preview
from hypersd.recipe import Recipe
from hypersd.rewards import hinge, load_reward, read_rewards
from hypersd.rewards.structure import load_structure
from hypersd.sampler import sample_jumps
from hypersd.solver import SolverGrid
from hypersd.student import Student, add_adapter_to
from hypersd.task import STUDENT, Task


@dataclass(frozen=True)
class FeedbackOptions:
    """A recipe's `options`; `rewards` beside them is a list (`hypersd.rewards.RewardOptions`), and
    so is `validation`: evaluators that nothing is trained on and no table reports, whose ratings of
    the validation pictures show whether the rewards are being hacked.

    on: folder of a distilled adapter to train on top of, "" for the base alone; on_weight: how much
    of it.  moves: of the sampler that draws from noise, 1 to this many, the last one with gradient.
    guidance: 1, as few-step students are drawn.  segmenter: folder,
    "" for no perceptual loss;
    perceptual: its weight; noise_low, noise_high: solver indices that real pictures are noised to.
    """

    guidance: float = 1.0
    points: int = 40
    rank: int = 8
    on: str = ""
    on_weight: float = 1.0
    moves: int = 4
    segmenter: str = ""
    perceptual: float = 1.0
    noise_low: int = 10
    noise_high: int = 39


RANGES = {
    "guidance": (1.0, 1.0), "points": (1, 1000), "rank": (1, 1024), "on_weight": (0.0, 2.0),
    "moves": (1, 8), "perceptual": (0.0, 100.0), "noise_low": (0, 999), "noise_high": (0, 999),
}  # fmt: skip


class FeedbackTask(Task):
    """A `hypersd.loop.Task` with the feedback adapter as its student."""

    divides = True

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        where, given = f"recipe {recipe.name}, options", dict(recipe.options)
        self.reward_options = read_rewards(f"{where}.rewards", given.pop("rewards", []))
        judges = read_rewards(f"{where}.validation", given.pop("validation", []))
        self.options = read(replace(recipe, options={"guidance": 1.0} | given), FeedbackOptions,
                            RANGES)  # fmt: skip
        if not self.reward_options and not self.options.segmenter:
            raise UsageError(f"{where}: neither rewards nor a segmenter; valid: at least one")
        self.rewards = [load_reward(one, device) for one in self.reward_options]
        self.judges = {one.kind: load_reward(one, device) for one in judges}
        self.grid = SolverGrid(self.options.points)
        self.base = load_base(recipe.base, device, recipe.base_precision)
        self.base.vae.requires_grad_(False)
        self.schedule = self.base.schedule
        self.data = open_dataset(recipe.data, self.base)
        if self.options.on:
            add_adapter_to(self.base.unet, Path(self.options.on), self.options.on_weight)
        self.student = Student(
            self.base.unet, self.schedule, rank=self.options.rank, seed=recipe.seed,
            recompute=recipe.gradient_checkpointing,
        )  # fmt: skip
        self.modules: dict[str, nn.Module] = {"unet": self.base.unet}
        if self.options.segmenter:
            self.structure = load_structure(self.options.segmenter, recipe.data, device)
        if recipe.gradient_checkpointing and self.rewards:
            self.base.vae.enable_gradient_checkpointing()
        self.shown = Preview(self.base, self.student, self.grid, prompts=recipe.prompts)

    def groups(self) -> list[dict[str, Any]]:
        """The feedback adapter."""
        return [{"params": self.student.parameters(STUDENT)}]

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The rewards' hinges on drawn pictures, and the perceptual loss on real ones."""
        recipe, rows = self.recipe, self.share
        batch = self.data.samples(self.base, step, recipe.batch, recipe.seed, rows)
        noise, z = (torch.randn(batch.shape, generator=rng)[rows].to(self.device) for _ in range(2))
        moves = 1 + int(torch.randint(self.options.moves, (1,), generator=rng))
        low, high = self.options.noise_low, min(self.options.noise_high + 1, self.grid.points)
        index = torch.randint(low, high, (recipe.batch,), generator=rng)[rows]
        total, scalars = torch.zeros((), device=self.device), dict[str, float]()
        if self.rewards:
            total, scalars = self.rated(self.draw(z, batch.text, moves), batch.captions)
        if self.options.segmenter:
            x0 = batch.x0.to(self.device)
            predicted = self.predicted(x0, noise, index, batch.text)
            structure = self.structure.loss(predicted, lambda: self.decode(x0), batch.rows).mean()
            total = total + self.options.perceptual * structure
            scalars["structure"] = float(structure.detach())
        return total, scalars

    def rated(self, x0: Tensor, captions: list[str]) -> tuple[Tensor, dict[str, float]]:
        """The weighted sum of the rewards' hinges on drawn latents, and the mean rewards.

        Raises UsageError for a reward that is not finite.
        """
        images, total, scalars = self.decode(x0), torch.zeros((), device=self.device), {}
        for options, reward in zip(self.reward_options, self.rewards, strict=True):
            found = reward(images, captions)
            mean = float(found.detach().mean())
            if not math.isfinite(mean):
                raise UsageError(f"recipe {self.recipe.name}: the reward {options.kind} gives "
                                 f"{mean}; valid: a finite number for every picture")  # fmt: skip
            total = total + options.weight * hinge(found, options.target).mean()
            scalars[f"reward_{options.kind}"] = mean
        return total, scalars

    def draw(self, z: Tensor, text: Text, moves: int) -> Tensor:
        """x0 from pure noise in so many moves; only the last one has a gradient."""
        timesteps = self.grid.inference(moves)
        network = self.student.network(STUDENT)
        with torch.no_grad():
            x = z
            for now, following in pairwise(timesteps):
                t, s = (torch.full((len(x),), v, device=x.device) for v in (now, following))
                x = self.schedule.jump(x, network(x, t, text), t, s)
        return sample_jumps(lambda x, t: network(x, t, text), x, timesteps[-1:], self.schedule)

    def predicted(self, x0: Tensor, noise: Tensor, index: Tensor, text: Text) -> Tensor:
        """The picture that the student sees in noised real latents, with gradient.

        index: [B] solver points to noise to.
        """
        t = self.grid.timesteps[index].to(self.device)
        x_t = self.schedule.diffuse(x0, noise, t)
        eps = self.student.predict(STUDENT, x_t, t, text)
        return self.decode(self.schedule.x0_from_eps(x_t, eps, t))

    def decode(self, latents: Tensor) -> Tensor:
        """Latents -> pictures [B, 3, H, W] in [-1, 1], with gradient, in fp32."""
        with torch.autocast(latents.device.type, enabled=False):
            scaled = latents.float() / self.base.vae.config.scaling_factor
            pictures: Tensor = self.base.vae.decode(scaled).sample
        return pictures.clamp(-1, 1)

    def preview(self, path: Path) -> dict[str, float]:
        """Validation prompts at 1, 2, 4 and 8 steps by deterministic jumps, and what the validation
        evaluators make of those of 4 steps."""
        figures = self.shown.write(path)
        if self.judges:
            with torch.no_grad():
                images = self.decode(self.shown.latents(4))
                for kind, judge in self.judges.items():
                    figures[kind] = float(judge(images, self.shown.prompts).mean())
        return figures

    def export(self, out: Path) -> dict[str, Any]:
        """Write the feedback adapter alone; returns what a model card says of it."""
        path, options = self.student.export(out), self.options
        return {
            "method": self.recipe.method, "base": self.recipe.base, "rank": options.rank,
            "on": options.on, "on_weight": options.on_weight, "bytes": path.stat().st_size,
            "rewards": ", ".join(f"{o.kind} to {o.target:g}" for o in self.reward_options),
        }  # fmt: skip

    def cost(self, steps: int) -> dict[str, int]:
        """The moves drawn on average, and one pass for the structure."""
        seen = steps * self.recipe.batch
        drawn = round(seen * (1 + self.options.moves) / 2) if self.rewards else 0
        backwards = seen * (bool(self.rewards) + bool(self.options.segmenter))
        forwards = drawn + (seen if self.options.segmenter else 0)
        return {"unet_forwards": forwards, "unet_backwards": backwards}


def build(recipe: Recipe, device: torch.device) -> FeedbackTask:
    """The task of a recipe with `method: feedback`."""
    return FeedbackTask(recipe, device)
