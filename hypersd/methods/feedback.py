"""Human feedback learning: an adapter that makes pictures rated higher, structure kept.

Each step draws pictures from pure noise in a few moves, keeps the gradient of the last one, decodes
them and asks for ReLU(alpha_d - r_d) of every reward. A perceptual loss holds the structure: real
pictures are noised, x0 is predicted directly, and an instance segmenter must find in it what is in
the real one. The adapter is trained on the base, or on top of a distilled adapter (`on`), which is
added to the base's weights first, so that what feedback adds is told from what distillation did.
Source: Hyper-SD (arXiv 2404.13686), Sec. 3.2, Eq. 13 to 15; UniFL (2404.05595) for the details.

# Differs from Hyper-SD: the segmenter; targets and weights of the rewards are not published.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hypersd.base import load_base
from hypersd.data import batch_rows, load_dataset
from hypersd.errors import UsageError
from hypersd.loop import STUDENT, Task
from hypersd.methods.options import read
from hypersd.methods.preview import write_preview
from hypersd.recipe import Recipe
from hypersd.rewards import hinge, load_reward, read_rewards
from hypersd.sampler import sample_jumps
from hypersd.shapes.segmenter import Instances, SegmenterNet, instance_loss, instances
from hypersd.solver import SolverGrid
from hypersd.student import Student, add_adapter_to


@dataclass(frozen=True)
class FeedbackOptions:
    """A recipe's `options`; `rewards` beside them is a list (`hypersd.rewards.RewardOptions`).

    on: folder of a distilled adapter to train on top of, "" for the base alone; on_weight: how much
    of it.  moves: of the sampler that draws from noise, 1 to this many, the last one with gradient.
    guidance: 1, as few-step students are drawn.  segmenter: folder, "" for no perceptual loss;
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

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        where, given = f"recipe {recipe.name}, options", dict(recipe.options)
        self.reward_options = read_rewards(f"{where}.rewards", given.pop("rewards", []))
        self.options = read(replace(recipe, options={"guidance": 1.0} | given), FeedbackOptions,
                            RANGES)  # fmt: skip
        if not self.reward_options and not self.options.segmenter:
            raise UsageError(f"{where}: neither rewards nor a segmenter; valid: at least one")
        self.rewards = [load_reward(one, device) for one in self.reward_options]
        self.grid = SolverGrid(self.options.points)
        self.base = load_base(recipe.base, device)
        self.base.vae.requires_grad_(False)
        self.schedule = self.base.schedule
        self.data = load_dataset(recipe.data, self.base)
        if self.options.on:
            add_adapter_to(self.base.unet, Path(self.options.on), self.options.on_weight)
        self.student = Student(
            self.base.unet, self.schedule, rank=self.options.rank, seed=recipe.seed
        )
        self.modules: dict[str, nn.Module] = {"unet": self.base.unet}
        if self.options.segmenter:
            self.segmenter = load_segmenter(Path(self.options.segmenter)).to(device)
            self.truth = instances("train", 0, recipe.data["n"])

    def groups(self) -> list[dict[str, Any]]:
        """The feedback adapter."""
        return [{"params": self.student.parameters(STUDENT)}]

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The rewards' hinges on drawn pictures, and the perceptual loss on real ones."""
        x0, captions = self.data.batch(step, self.recipe.batch, self.recipe.seed)
        text = self.base.encode_prompts(captions)
        noise, z = (torch.randn(x0.shape, generator=rng).to(self.device) for _ in range(2))
        moves = 1 + int(torch.randint(self.options.moves, (1,), generator=rng))
        low, high = self.options.noise_low, min(self.options.noise_high + 1, self.grid.points)
        index = torch.randint(low, high, (len(x0),), generator=rng)
        total, scalars = torch.zeros((), device=self.device), {}
        if self.rewards:
            images = self.decode(self.draw(z, text, moves))
            for options, reward in zip(self.reward_options, self.rewards, strict=True):
                found = reward(images, captions)
                total = total + options.weight * hinge(found, options.target).mean()
                scalars[f"reward_{options.kind}"] = float(found.detach().mean())
        if self.options.segmenter:
            structure = self.structure_loss(step, x0.to(self.device), noise, index, text).mean()
            total = total + self.options.perceptual * structure
            scalars["structure"] = float(structure.detach())
        return total, scalars

    def draw(self, z: Tensor, text: Tensor, moves: int) -> Tensor:
        """x0 from pure noise in so many moves; only the last one has a gradient."""
        timesteps = self.grid.inference(moves)
        network = self.student.network(STUDENT)
        with torch.no_grad():
            x = z
            for now, following in pairwise(timesteps):
                t, s = (torch.full((len(x),), v, device=x.device) for v in (now, following))
                x = self.schedule.jump(x, network(x, t, text), t, s)
        return sample_jumps(lambda x, t: network(x, t, text), x, timesteps[-1:], self.schedule)

    def structure_loss(
        self, step: int, x0: Tensor, noise: Tensor, index: Tensor, text: Tensor
    ) -> Tensor:
        """What the segmenter misses in x0 predicted from noised real latents, [B]."""
        t = self.grid.timesteps[index].to(self.device)
        x_t = self.schedule.diffuse(x0, noise, t)
        eps = self.student.predict(STUDENT, x_t, t, text)
        maps = self.segmenter(self.decode(self.schedule.x0_from_eps(x_t, eps, t)))
        rows = batch_rows(len(self.data.captions), step, len(x0), self.recipe.seed)
        truth = self.truth.rows(rows)
        there = Instances(truth.where.to(self.device), truth.masks.to(self.device))
        focal, dice = instance_loss(maps, there)
        return focal + dice

    def decode(self, latents: Tensor) -> Tensor:
        """Latents -> pictures [B, 3, H, W] in [-1, 1], with gradient, in fp32."""
        with torch.autocast(latents.device.type, enabled=False):
            scaled = latents.float() / self.base.vae.config.scaling_factor
            pictures: Tensor = self.base.vae.decode(scaled).sample
        return pictures.clamp(-1, 1)

    def preview(self, path: Path) -> None:
        """Validation prompts at 1, 2, 4 and 8 steps by deterministic jumps."""
        network = self.student.network(STUDENT)
        write_preview(path, self.base, network, self.grid, "jumps")

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


def load_segmenter(folder: Path) -> SegmenterNet:
    """The trained segmenter of a folder, frozen. Raises UsageError where it cannot be read."""
    path = folder / "model.safetensors"
    try:
        state = load_file(path)
        net = SegmenterNet(len(state["stem.0.1.weight"]) * 2)
        net.load_state_dict(state)
    except Exception as error:  # a damaged file raises many kinds
        raise UsageError(f"segmenter {path}: {str(error).splitlines()[0]}") from None
    return net.float().eval().requires_grad_(False)


def build(recipe: Recipe, device: torch.device) -> FeedbackTask:
    """The task of a recipe with `method: feedback`."""
    return FeedbackTask(recipe, device)
