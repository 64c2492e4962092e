"""200 steps of every method that distils on a mixture of Gaussians bring the student's few-step
samples nearer to where the exact ODE ends."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypersd import loop
from hypersd.data import Samples
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
from tests.hypersd.gaussians import FLOW, SCALED_LINEAR, Mixture

SCHEDULE = Schedule.from_config(SCALED_LINEAR)
TEACHER = Mixture(SCHEDULE)
BOTH = pytest.mark.parametrize(
    "teacher", [TEACHER, Mixture(Schedule.from_config(FLOW))], ids=["preserving", "flow"]
)
STEPS, BATCH = 200, 128
CASES: dict[str, tuple[type[Method], int]] = {  # and how many steps the student is meant for
    "lcm": (Lcm, 1), "tcd": (Tcd, 1), "tscd": (Tscd, 2), "pcm": (Pcm, 2),
}  # fmt: skip


class Toy(nn.Module):
    """The teacher's prediction and what is learned on top of it: x [B, 1, 1, 1], t [B]."""

    def __init__(self, teacher: Mixture) -> None:
        super().__init__()
        self.teacher = teacher
        self.body = nn.Sequential(nn.Linear(4, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(),
                                  nn.Linear(64, 1)).double()  # fmt: skip
        nn.init.zeros_(self.body[-1].weight)
        nn.init.zeros_(self.body[-1].bias)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        y, time = x.detach().flatten(), t.double() / self.teacher.schedule.clock.pure
        given = torch.stack([y, time, torch.sin(6 * time), y * time], dim=1)
        return self.teacher.predict(x.detach(), t) + self.body(given).view_as(x)


def end_point_error(student: Toy, name: str, steps: int, grid: SolverGrid) -> float:
    """Root mean square distance from the exact ODE's end, over the quantiles of the noise."""
    z = torch.erfinv(torch.linspace(-0.98, 0.98, 64, dtype=torch.float64)).view(-1, 1, 1, 1)
    z = z * 2**0.5
    sampler, teacher = sample_consistency if name == "lcm" else sample_jumps, student.teacher
    with torch.no_grad():
        found = sampler(student, z, grid.inference(steps), teacher.schedule)
    return float((found - teacher.flow(z, teacher.schedule.clock.pure, 0)).square().mean().sqrt())


@BOTH
@pytest.mark.parametrize("name", CASES)
def test_200_steps_bring_the_end_nearer(name: str, teacher: Mixture) -> None:
    kind, steps = CASES[name]
    grid = SolverGrid(40, teacher.schedule.clock)
    stages = [{"segments": steps, "steps": STEPS}]
    recipe = Recipe(name=name, method=name, steps=STEPS, batch=BATCH, lr=1e-2, stages=stages)
    method, rng = kind(recipe, grid), torch.Generator().manual_seed(0)
    method.on(grid.clock)
    torch.manual_seed(0)
    student = Toy(teacher)
    before = end_point_error(student, name, steps, grid)
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-2)
    for step in range(STEPS):
        x0 = teacher.sample(BATCH, rng)
        draw = Draw.sample(x0.shape, grid.points, rng)
        draw = Draw(draw.index, draw.noise.double(), draw.end)
        prediction, goal = consistency_pair(
            x0, draw, method.endpoint(step, draw), teacher=teacher.predict, student=student,
            target=student, method=method, schedule=teacher.schedule,
        )  # fmt: skip
        optimizer.zero_grad()
        pseudo_huber(prediction, goal, c=0.03).mean().backward()
        optimizer.step()
    after = end_point_error(student, name, steps, grid)
    assert after < 0.75 * before, (before, after)


class Learned:
    """In a task's student's place: a Toy for every role but the teacher, which is exact."""

    def __init__(self, teacher: Mixture) -> None:
        self.nets = {role: Toy(teacher) for role in ("student", "fake")}
        self.teacher, self.prediction = teacher, dict[str, str]()

    def predict(self, role: str, x: Tensor, t: Tensor, text: Any) -> Tensor:
        return self.teacher.predict(x, t) if role == "teacher" else self.nets[role](x, t)

    def network(self, role: str) -> Any:
        return lambda x, t, text: self.predict(role, x, t, text)


def on_the_mixture(
    name: str, base: Path, teacher: Mixture = TEACHER, **fields: Any
) -> tuple[Any, Learned]:
    """A method's own task with the mixture as its teacher and data, and its networks."""
    recipe = Recipe(name=name, method=name, batch=BATCH, lr=1e-2, base=str(base),
                    data={"set": "shapes/train", "n": 2}, **fields)  # fmt: skip
    task: Any = loop.build(recipe, torch.device("cpu"))
    rng = torch.Generator().manual_seed(1)

    def samples(*given: Any) -> Samples:
        text = torch.zeros(BATCH, 1, 1)
        return Samples(teacher.sample(BATCH, rng), [""] * BATCH, text, torch.arange(BATCH),
                       torch.Size((BATCH, 1, 1, 1)))  # fmt: skip

    torch.manual_seed(0)
    task.schedule, task.student = teacher.schedule, Learned(teacher)
    task.grid, task.start = task.on(teacher.schedule.clock), teacher.schedule.clock.pure
    if name == "dmd2":
        task.timesteps = [task.start]
    task.data = SimpleNamespace(samples=samples)
    return task, task.student


def one_step_error(student: Learned) -> float:
    """As `end_point_error`, of the sorted pictures: the exact map keeps the order, so pictures of
    the teacher's distribution have none, whichever noise they come from."""
    z = torch.erfinv(torch.linspace(-0.98, 0.98, 64, dtype=torch.float64)).view(-1, 1, 1, 1)
    z = z * 2**0.5
    teacher, pure = student.teacher, student.teacher.schedule.clock.pure
    with torch.no_grad():
        found = sample_jumps(student.nets["student"], z, [pure], teacher.schedule)
    return float((found.sort(0).values - teacher.flow(z, pure, 0)).square().mean().sqrt())


@BOTH
def test_200_steps_of_lightnings_squared_error_bring_the_end_nearer(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, teacher: Mixture
) -> None:
    monkeypatch.setenv("HYPERSD_CACHE", str(tmp_path))
    task, student = on_the_mixture(
        "lightning", tiny_base, teacher, steps=STEPS, stages=[{"from": 8, "to": 1, "steps": STEPS}],
        options={"guidance": 1.0, "rank": 4},
    )  # fmt: skip
    before, rng = one_step_error(student), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(student.nets["student"].parameters(), lr=1e-2)
    for step in range(STEPS):
        optimizer.zero_grad()
        task.loss(step, rng)[0].backward()
        optimizer.step()
    assert one_step_error(student) < 0.75 * before


@BOTH
@pytest.mark.parametrize(
    ("name", "options"),
    [("tdm", {"moves": 1}),
     ("one_adapter", {"moves": [1], "shares": [1.0], "gan": 0.0, "anchor": 0.0,
                      "anchor_end": 0.0})],
)  # fmt: skip
def test_200_steps_along_the_students_path_bring_the_end_nearer(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    name: str, options: Any, teacher: Mixture,
) -> None:  # fmt: skip
    """With the loop's clipping: of one element |x - x0_real|, which pulls are divided by, may be
    next to nothing. Without an anchor: what it holds fast here is the teacher itself."""
    monkeypatch.setenv("HYPERSD_CACHE", str(tmp_path))
    task, student = on_the_mixture(
        name, tiny_base, teacher, steps=STEPS, options={"guidance": 1.0, "rank": 4, **options}
    )
    before, rng = one_step_error(student), torch.Generator().manual_seed(0)
    own = torch.optim.Adam(student.nets["student"].parameters(), lr=1e-3)
    fake = torch.optim.Adam(student.nets["fake"].parameters(), lr=1e-2)
    for step in range(STEPS):
        outputs = None
        for role in ("student", "fake", "fake"):
            optimizer = own if role == "student" else fake
            turn = task.turn_loss(role, step, rng, outputs)
            outputs = outputs or turn.outputs
            optimizer.zero_grad()
            turn.loss.backward()
            nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
            optimizer.step()
    assert one_step_error(student) < 0.75 * before


@BOTH
@pytest.mark.parametrize(
    ("name", "options"),
    [("dmd", {"pairs": 0, "mse": 0.0}), ("dmd", {"pairs": 32, "mse": 1.0}),
     ("dmd2", {"moves": 1, "gan": 0.05, "gan_critic": 0.1})],
)  # fmt: skip
def test_200_steps_of_distribution_matching_bring_the_end_nearer(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    name: str, options: Any, teacher: Mixture,
) -> None:  # fmt: skip
    """With a fake score model that is learned beside the student (and DMD2's critic), at a rate at
    which it keeps up: at three times the student's the error swings."""
    monkeypatch.setenv("HYPERSD_CACHE", str(tmp_path))
    task, student = on_the_mixture(
        name, tiny_base, teacher, steps=STEPS, options={"guidance": 1.0, "rank": 4, **options}
    )
    clock = teacher.schedule.clock
    critic = nn.Sequential(nn.Linear(2, 32), nn.SiLU(), nn.Linear(32, 1)).double()
    task.logits = lambda x_t, at: critic(torch.stack([x_t.flatten(), at.t / clock.pure], 1))[:, 0]
    before, rng = one_step_error(student), torch.Generator().manual_seed(0)
    nets = student.nets
    own = torch.optim.Adam(nets["student"].parameters(), lr=1e-3)
    fake = torch.optim.Adam([*nets["fake"].parameters(), *critic.parameters()], lr=1e-2)
    for step in range(STEPS):
        for turn in (task.fake_loss, task.fake_loss, task.loss):
            optimizer = own if turn == task.loss else fake
            optimizer.zero_grad()
            turn(step, rng)[0].backward()
            optimizer.step()
    assert one_step_error(student) < 0.75 * before
