"""Validation pictures of a student at 1, 2, 4 and 8 steps, and their distance to the teacher's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hypersd.base import Base
from hypersd.clock import Time
from hypersd.sampler import sample_consistency, sample_jumps
from hypersd.solver import Network, SolverGrid, guided
from hypersd.student import STUDENT, TEACHER, Student
from hypersd.whole_files import written_whole

STEPS = (1, 2, 4, 8)
PROMPTS = 8
TEACHER_STEPS = 20
AT_ONCE = 64 * 64 * 8  # latent places that are decoded in one call: a large picture by itself
RENOISING = "consistency"  # the one that adds fresh noise
SAMPLERS: dict[str, Callable[..., Tensor]] = {
    "jumps": sample_jumps,  # deterministic: DDIM's moves
    RENOISING: sample_consistency,  # LCM's: predict x0, add fresh noise
}


class Preview:
    """Draws validation prompts with a student, always from the same noise.

    guidance: of the teacher it is compared with.  sampler: a key of `SAMPLERS`.  start: the
    time that one step is made at, pure noise's where None.
    """

    def __init__(
        self, base: Base, student: Student, grid: SolverGrid, *,
        prompts: Sequence[str], guidance: float = 1.0,
        sampler: str = "jumps", start: Time | None = None,
    ) -> None:  # fmt: skip
        self.base, self.student, self.grid = base, student, grid
        self.guidance, self.sampler, self.start = guidance, sampler, start
        self.prompts = [*prompts]

    @torch.no_grad()
    def write(self, path: Path) -> dict[str, float]:
        """Write a PNG: one row for each of 1, 2, 4 and 8 steps, one column per prompt.

        Returns `teacher_distance_<n>step`: the mean squared difference, in latents, between what
        the student draws in n steps and the teacher's guided ODE solution from the same noise. It
        measures how well a method follows the teacher; methods that match distributions need not
        keep it small.
        """
        noise = self._noise()
        rows, figures = [], {}
        for steps in (n for n in STEPS if n <= self.grid.points):
            latents = self._draw(steps, noise)
            figures[f"teacher_distance_{steps}step"] = float(
                (latents - self.reference.to(latents)).square().mean()
            )
            rows.append(np.concatenate(list(self._decode(latents)), axis=1))
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as beside:
            Image.fromarray(np.concatenate(rows, axis=0)).save(beside, "PNG")
        return figures

    @torch.no_grad()
    def pictures(self, steps: int) -> Tensor:
        """The student's pictures of the prompts in so many steps, [prompts, 3, H, W] in [-1, 1]."""
        return torch.cat([self.base.pictures(p) for p in _parts(self._draw(steps, self._noise()))])

    @cached_property
    def reference(self) -> Tensor:
        """The teacher's latents of the prompts, of guided DDIM steps; kept on the CPU."""
        network, text = self.student.network(TEACHER), self.base.encode_prompts(self.prompts)
        empty = self.base.encode_empty()

        def teacher(x: Tensor, t: Tensor) -> Tensor:
            return guided(network, x, t, text, empty, self.guidance)

        steps = min(TEACHER_STEPS, self.grid.points)
        x = self._noise()[0]
        return sample_jumps(teacher, x, self.grid.inference(steps), self.base.schedule).cpu()

    def _draw(self, steps: int, noise: Tensor) -> Tensor:
        network: Network = self.student.network(STUDENT)
        text = self.base.encode_prompts(self.prompts)
        timesteps = self.grid.inference(steps)
        if steps == 1 and self.start is not None:
            timesteps = [self.start]
        return SAMPLERS[self.sampler](
            lambda x, t: network(x, t, text), noise[0], timesteps, self.base.schedule,
            noise=list(noise[1:]),
        )  # fmt: skip

    def _noise(self) -> Tensor:
        shape = (max(STEPS), len(self.prompts), *self.base.family.latent_shape())
        return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(self.base.device)

    def _decode(self, latents: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        return np.concatenate([self.base.decode(part) for part in _parts(latents)])


def _parts(latents: Tensor) -> tuple[Tensor, ...]:
    return torch.split(latents, max(1, AT_ONCE // latents[0, 0].numel()))
