"""200 steps of every consistency method on a mixture of Gaussians bring the student's few-step
samples nearer to where the exact ODE ends."""

from __future__ import annotations

import pytest
import torch
from gaussians import SCALED_LINEAR, Mixture
from torch import Tensor, nn

from hypersd.losses import pseudo_huber
from hypersd.methods.consistency import Draw, Method, consistency_pair
from hypersd.methods.lcm import Lcm
from hypersd.methods.pcm import Pcm
from hypersd.methods.tcd import Tcd
from hypersd.methods.tscd import Tscd
from hypersd.recipe import Recipe
from hypersd.sampler import sample_consistency, sample_jumps
from hypersd.schedule import Schedule
from hypersd.solver import SolverGrid

SCHEDULE = Schedule.from_config(SCALED_LINEAR)
TEACHER = Mixture(SCHEDULE)
STEPS, BATCH = 200, 128
CASES: dict[str, tuple[type[Method], int]] = {  # and how many steps the student is meant for
    "lcm": (Lcm, 1), "tcd": (Tcd, 1), "tscd": (Tscd, 2), "pcm": (Pcm, 2),
}  # fmt: skip


class Toy(nn.Module):
    """The teacher's eps and what is learned on top of it: x [B, 1, 1, 1], t [B]."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(),
                                  nn.Linear(64, 1)).double()  # fmt: skip
        nn.init.zeros_(self.body[-1].weight)
        nn.init.zeros_(self.body[-1].bias)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        y, time = x.detach().flatten(), t.double() / 1000
        given = torch.stack([y, time, torch.sin(6 * time), y * time], dim=1)
        return TEACHER.eps(x.detach(), t) + self.body(given).view_as(x)


def end_point_error(student: Toy, name: str, steps: int, grid: SolverGrid) -> float:
    """Root mean square distance from the exact ODE's end, over the quantiles of the noise."""
    z = torch.erfinv(torch.linspace(-0.98, 0.98, 64, dtype=torch.float64)).view(-1, 1, 1, 1)
    z = z * 2**0.5
    sampler = sample_consistency if name == "lcm" else sample_jumps
    with torch.no_grad():
        found = sampler(student, z, grid.inference(steps), SCHEDULE)
    return float((found - TEACHER.flow(z, 999, 0)).square().mean().sqrt())


@pytest.mark.parametrize("name", CASES)
def test_200_steps_bring_the_end_nearer(name: str) -> None:
    kind, steps = CASES[name]
    grid = SolverGrid(40)
    stages = [{"segments": steps, "steps": STEPS}]
    recipe = Recipe(name=name, method=name, steps=STEPS, batch=BATCH, lr=1e-2, stages=stages)
    method, rng = kind(recipe, grid), torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    student = Toy()
    before = end_point_error(student, name, steps, grid)
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-2)
    means = torch.tensor(TEACHER.means, dtype=torch.float64)
    for step in range(STEPS):
        which = torch.multinomial(torch.tensor(TEACHER.weights), BATCH, True, generator=rng)
        spread = torch.randn(BATCH, generator=rng, dtype=torch.float64) * TEACHER.spread
        x0 = (means[which] + spread).view(-1, 1, 1, 1)
        draw = Draw.sample(x0.shape, grid.points, rng)
        draw = Draw(draw.index, draw.noise.double(), draw.end)
        prediction, goal = consistency_pair(
            x0, draw, method.endpoint(step, draw), teacher=TEACHER.eps, student=student,
            target=student, method=method, schedule=SCHEDULE,
        )  # fmt: skip
        optimizer.zero_grad()
        pseudo_huber(prediction, goal, c=0.03).mean().backward()
        optimizer.step()
    after = end_point_error(student, name, steps, grid)
    assert after < 0.75 * before, (before, after)
