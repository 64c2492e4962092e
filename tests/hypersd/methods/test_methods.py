"""LCM, TCD, TSCD and PCM: on teachers whose flow is known, and as tasks on a tiny base."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from hypersd import loop
from hypersd import recipe as recipes
from hypersd.errors import UsageError
from hypersd.losses import squared_error
from hypersd.methods.consistency import ConsistencyTask, Draw, Method, consistency_pair
from hypersd.methods.lcm import Lcm
from hypersd.methods.pcm import Pcm
from hypersd.methods.tcd import Tcd
from hypersd.methods.tscd import Tscd
from hypersd.recipe import Recipe
from hypersd.schedule import Schedule
from hypersd.solver import SolverGrid
from tests.hypersd.gaussians import FLOW, SCALED_LINEAR, Gaussian

SCHEDULE = Schedule.from_config(SCALED_LINEAR)
TEACHER = Gaussian(SCHEDULE)
STAGES = [{"segments": k, "steps": 2} for k in (8, 4, 2, 1)]
KINDS = {"lcm": Lcm, "tcd": Tcd, "tscd": Tscd, "pcm": Pcm}


def recipe(method: str, **changes: Any) -> Recipe:
    plain = Recipe(
        name="trial",
        method=method,
        steps=8,
        batch=4,
        lr=1e-3,
        data={"set": "shapes/train", "n": 6},
        options={"guidance": 3.0, "target": "student" if method == "lcm" else "ema"},
        stages=STAGES if method in ("tscd", "pcm") else [],
    )
    return replace(plain, **changes)


def rules(method: str, points: int = 40, schedule: Schedule = SCHEDULE) -> Method:
    kind = KINDS[method](recipe(method), SolverGrid(points))
    kind.on(schedule.clock)
    return kind


def every_index(points: int, seed: int = 0) -> tuple[torch.Tensor, Draw]:
    """Data and a draw that holds each solver index once, in double precision."""
    rng = torch.Generator().manual_seed(seed)
    shape = (points, 1, 2, 2)
    noise, z = (torch.randn(shape, generator=rng, dtype=torch.float64) for _ in range(2))
    draw = Draw(torch.arange(points), noise, torch.rand(points, generator=rng))
    return TEACHER.mean + TEACHER.spread * z, draw


def exact(s: torch.Tensor, method: str, teacher: Gaussian) -> Any:
    """The network of a perfect student: its landing at s is the ODE's."""

    def predict(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        if method == "lcm":  # lands on x0 itself, where alpha = 1 and sigma = 0
            a, b = (v.double().view(-1, 1, 1, 1) for v in teacher.schedule.coefficients(t))
            wide = (a**2 * teacher.spread**2 + b**2).sqrt()
            x0 = teacher.mean + teacher.spread / wide * (x - a * teacher.mean)
            return teacher.schedule.target(x0, (x - a * x0) / b).nan_to_num()  # 0/0 at t = 0
        return teacher.predict_towards(x, t, s).nan_to_num()  # 0/0 at s = t, of no account

    return predict


def mean_distance(
    method: str, points: int, schedule: Schedule, *, learned: bool = True, step: int = 0
) -> float:
    """The mean squared distance over the solver's points of the noisier three quarters."""
    kind, teacher = rules(method, points, schedule), Gaussian(schedule)
    x0, draw = every_index(points)
    s = kind.endpoint(step, draw)
    student = exact(s, method, teacher) if learned else teacher.predict
    prediction, goal = consistency_pair(
        x0, draw, s, teacher=teacher.predict, student=student, target=student,
        method=kind, schedule=schedule,
    )  # fmt: skip
    return float(squared_error(prediction, goal)[points // 4 :].mean())


BOTH = pytest.mark.parametrize(
    "schedule", [SCHEDULE, Schedule.from_config(FLOW)], ids=["preserving", "flow"]
)


@BOTH
@pytest.mark.parametrize("method", sorted(KINDS))
def test_a_perfect_student_pays_only_the_solvers_error(method: str, schedule: Schedule) -> None:
    """With the exact flow as student and target, what is left is one DDIM step's local error:
    of second order, so its square falls by 5^4 for steps 5 times as small."""
    coarse, fine = mean_distance(method, 40, schedule), mean_distance(method, 200, schedule)
    assert coarse < 1e-6
    assert fine < coarse / 400


@BOTH
@pytest.mark.parametrize("method", sorted(KINDS))
def test_a_student_that_learned_nothing_pays_far_more(method: str, schedule: Schedule) -> None:
    """The teacher as its own student: its x0 is the posterior mean, not the ODE's end."""
    last_stage = 7
    untrained = mean_distance(method, 200, schedule, learned=False, step=last_stage)
    assert untrained > 1000 * mean_distance(method, 200, schedule, step=last_stage)


@pytest.mark.parametrize("method", sorted(KINDS))
def test_goal_is_the_ode_step_itself_where_there_is_no_way_left(method: str) -> None:
    """LCM at t_prev = 0, PCM at a phase's first point, TCD and TSCD wherever s = t_prev: the target
    network has no say."""
    kind = rules(method)
    x0, draw = every_index(40)
    draw = replace(draw, end=torch.full((40,), 1 - 2**-24))
    s = kind.endpoint(0, draw)
    t, t_prev = kind.grid.timesteps, kind.grid.previous
    x_t = SCHEDULE.diffuse(x0, draw.noise, t)
    expected = SCHEDULE.jump(x_t, TEACHER.eps(x_t, t), t, t_prev)
    _, goal = consistency_pair(
        x0, draw, s, teacher=TEACHER.eps, student=TEACHER.eps,
        target=lambda x, t: x * 1e3, method=kind, schedule=SCHEDULE,
    )  # fmt: skip
    here = s == t_prev
    expected_at = {"lcm": [True] + [False] * 39, "pcm": ([True] + [False] * 4) * 8}
    assert here.tolist() == expected_at.get(method, [True] * 40)
    torch.testing.assert_close(goal[here], expected[here], rtol=0, atol=0)
    assert torch.equal(x_t[39], draw.noise[39])


def test_only_the_prediction_has_a_gradient() -> None:
    kind = rules("tcd")
    x0, draw = every_index(40)
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)

    def network(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return scale * TEACHER.eps(x, t)

    s = kind.endpoint(0, draw)
    prediction, goal = consistency_pair(
        x0, draw, s, teacher=network, student=network, target=network,
        method=kind, schedule=SCHEDULE,
    )  # fmt: skip
    assert prediction.requires_grad
    assert not goal.requires_grad


def test_lcm_minimises_towards_x0_as_its_paper_writes_it() -> None:
    """f = c_skip x + c_out x0 with the paper's constants, at a middle timestep and at t = 0."""
    x, eps = torch.full((2, 1, 1, 1), 0.5), torch.full((2, 1, 1, 1), -0.2)
    t = torch.tensor([0, 24])
    got = rules("lcm").consistency_function(x, eps, t, t * 0, SCHEDULE)
    x0 = (0.5 + 0.2 * float(SCHEDULE.sigma[24])) / float(SCHEDULE.alpha[24])
    c_skip = 0.25 / (240.0**2 + 0.25)
    c_out = 240.0 / (240.0**2 + 0.25) ** 0.5
    expected = torch.tensor([0.5, c_skip * 0.5 + c_out * x0])
    torch.testing.assert_close(got.flatten(), expected)


def test_tscd_goes_through_its_stages_and_ends_as_tcd() -> None:
    kind = rules("tscd")
    assert isinstance(kind, Tscd)
    assert [kind.stage(step).segments for step in range(8)] == [8, 8, 4, 4, 2, 2, 1, 1]
    _, draw = every_index(40)
    assert torch.equal(kind.endpoint(7, draw), rules("tcd").endpoint(7, draw))
    for step, segments in ((0, 8), (2, 4), (4, 2)):
        first = kind.grid.first(draw.index, segments)
        s = kind.endpoint(step, draw)
        assert bool((s >= kind.grid.previous[first]).all())
        assert bool((s <= kind.grid.previous).all())


def test_a_stage_that_has_passed_or_not_begun_is_no_stage() -> None:
    kind = rules("tscd")
    assert isinstance(kind, Tscd)
    with pytest.raises(IndexError):
        kind.stage(8)


@pytest.fixture(scope="module")
def tasks(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ConsistencyTask]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYPERSD_CACHE", str(tmp_path_factory.mktemp("cache")))
        built = {
            name: loop.build(recipe(name, base=str(tiny_base)), torch.device("cpu"))
            for name in KINDS
        }
    assert all(isinstance(task, ConsistencyTask) for task in built.values())
    return built  # type: ignore[return-value]


def loss(task: ConsistencyTask, step: int) -> torch.Tensor:
    return task.loss(step, torch.Generator().manual_seed(1000 + step))[0]


@pytest.mark.parametrize("method", sorted(KINDS))
def test_a_step_is_a_function_of_weights_seed_and_step(
    tasks: dict[str, ConsistencyTask], method: str
) -> None:
    task = tasks[method]
    values = [loss(task, step).item() for step in range(3)]
    torch.manual_seed(99)
    assert [loss(task, step).item() for step in reversed(range(3))] == values[::-1]
    assert len(set(values)) == 3


@pytest.mark.parametrize("method", sorted(KINDS))
def test_training_moves_the_students_adapter_alone(
    tasks: dict[str, ConsistencyTask], method: str
) -> None:
    task = tasks[method]
    frozen = {k: v.clone() for k, v in task.base.network.state_dict().items() if ".lora_" not in k}
    groups = [{**group, "params": list(group["params"])} for group in task.groups()]
    optimizer = torch.optim.AdamW(groups, lr=1e-2)
    for step in range(3):
        before = [p.detach().clone() for p in task.student.parameters("student")]
        averages = {n: [p.detach().clone() for p in task.student.parameters(n)]
                    for n in task.student.adapters[1:]}  # fmt: skip
        optimizer.zero_grad()
        loss(task, step).backward()
        optimizer.step()
        task.after_step(step)
        after = task.student.parameters("student")
        assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
        for name, old in averages.items():
            for now, was, source in zip(task.student.parameters(name), old, after, strict=True):
                torch.testing.assert_close(now, 0.95 * was + 0.05 * source)
    with_gradient = {k for k, p in task.base.network.named_parameters() if p.grad is not None}
    assert with_gradient == {k for k, _ in task.base.network.named_parameters() if ".student." in k}
    now = task.base.network.state_dict()
    assert all(torch.equal(now[key], value) for key, value in frozen.items())


def test_methods_draw_the_same_pictures_times_and_noise() -> None:
    draws = [Draw.sample(torch.Size((4, 1, 2, 2)), 40, torch.Generator().manual_seed(3))
             for _ in range(2)]  # fmt: skip
    assert torch.equal(draws[0].index, draws[1].index)
    shifted = torch.Generator().manual_seed(3)
    assert torch.equal(draws[0].index, torch.randint(40, (4,), generator=shifted))
    assert torch.equal(draws[0].noise, torch.randn(4, 1, 2, 2, generator=shifted))


def test_the_loss_follows_from_its_parts(tasks: dict[str, ConsistencyTask]) -> None:
    """LCM's loss once more with diffusers' schedulers and the UNet alone, guidance included."""
    from diffusers import DDIMScheduler, LCMScheduler

    task = tasks["lcm"]
    got = loss(task, 5).item()
    x0, texts = task.data.batch(5, 4, 0)
    rng = torch.Generator().manual_seed(1005)
    index = torch.randint(40, (4,), generator=rng)
    noise = torch.randn(x0.shape, generator=rng)
    ddim = DDIMScheduler(**SCALED_LINEAR, clip_sample=False, timestep_spacing="trailing")
    lcm = LCMScheduler(**SCALED_LINEAR, original_inference_steps=40)
    ddim.set_timesteps(40)
    total = []
    for i, x, z, text in zip(index.tolist(), x0, noise, texts, strict=True):
        t, t_prev = 25 * i + 24, max(25 * i - 1, 0)
        x_t = z[None] if t == 999 else ddim.add_noise(x[None], z[None], torch.tensor([t]))
        c, u = task.base.encode_prompts([text]), task.base.encode_prompts([""])
        eps = [task.student.predict("teacher", x_t, torch.tensor([t]), e) for e in (c, u)]
        guided = eps[1] + 3.0 * (eps[0] - eps[1])
        a, b = ddim.alphas_cumprod[t], ddim.alphas_cumprod[t_prev]
        x_prev = b.sqrt() * (x_t - (1 - a).sqrt() * guided) / a.sqrt() + (1 - b).sqrt() * guided
        ends = []
        for at, where in ((x_t, t), (x_prev, t_prev)):
            skip, out = lcm.get_scalings_for_boundary_condition_discrete(where)
            noise_hat = task.student.predict("student", at, torch.tensor([where]), c)
            p = lcm.alphas_cumprod[where]
            ends.append(skip * at + out * (at - (1 - p).sqrt() * noise_hat) / p.sqrt())
        d = ends[0] - ends[1]
        total.append(((d.square() + 1e-6).sqrt() - 1e-3).mean())
    assert got == pytest.approx(torch.stack(total).mean().item(), rel=1e-3)


def test_offset_noise_shifts_whole_channels_and_changes_no_other_draw(
    tasks: dict[str, ConsistencyTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    task, shape = tasks["tscd"], torch.Size((4000, 4, 2, 2))
    plain = Draw.sample(shape, 40, torch.Generator().manual_seed(0))
    monkeypatch.setattr(task, "options", replace(task.options, offset_noise=0.1))
    shifted = task.draw(0, shape, torch.Generator().manual_seed(0))
    shift = shifted.noise - plain.noise
    torch.testing.assert_close(shift, shift[:, :, :1, :1].expand(shape), rtol=0, atol=1e-6)
    assert float(shift.std()) == pytest.approx(0.1, rel=0.03)
    assert torch.equal(shifted.index, plain.index)
    assert torch.equal(shifted.end, plain.end)


def test_preview_is_a_grid_of_steps_by_prompts(
    tasks: dict[str, ConsistencyTask], tmp_path: Path
) -> None:
    for name in ("lcm", "tcd"):  # one for each sampler
        tasks[name].preview(tmp_path / "new" / f"{name}.png")
        with Image.open(tmp_path / "new" / f"{name}.png") as picture:
            assert picture.size == (8 * 64, 4 * 64)


def test_export_says_how_large_the_weights_are(
    tasks: dict[str, ConsistencyTask], tmp_path: Path
) -> None:
    figures = tasks["tscd"].export(tmp_path)
    assert (tmp_path / "pytorch_lora_weights.safetensors").stat().st_size == figures["bytes"]


@pytest.mark.parametrize(
    ("method", "changes", "says"),
    [
        ("tcd", {"options": {}}, "'guidance' is missing"),
        ("tcd", {"options": {"guidence": 3.0}}, "did you mean 'guidance'"),
        ("tcd", {"options": {"guidance": "high"}}, "options.guidance=high: must be a number"),
        ("tcd", {"options": {"guidance": 3.0, "distance": "l2"}}, "distance=l2: valid: huber"),
        ("tcd", {"options": {"guidance": 3.0, "teacher": "base"}}, "unknown key 'teacher'"),
        ("tscd", {"options": {"guidance": 3.0, "teacher": "previous"}}, "mean 'previous_stage'"),
        ("tscd", {"options": {"guidance": 3.0, "critic": "lora"}}, "critic=lora: valid: copy"),
        (
            "tscd",
            {"stages": [{"segments": 8, "steps": 8, "distance": -1}]},
            "must be a number >= 0",
        ),
        ("tscd", {"options": {"guidance": 3.0, "points": 50}}, "8 segments do not divide"),
        ("tscd", {"stages": STAGES[:2]}, "have 4 steps; valid: steps=8"),
        ("tscd", {"stages": [{"segment": 8, "steps": 8}]}, "did you mean 'segments'"),
        (
            "tscd",
            {"stages": [{"segments": 8.5, "steps": 8}]},
            "segments=8.5: must be",
        ),
        ("tscd", {"stages": [{"steps": 8}]}, "'segments' is missing; it must be a whole number"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(
    method: str, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        loop.build(recipe(method, base="no/where", **changes), torch.device("cpu"))


def test_shipped_recipes_differ_only_in_what_makes_the_method() -> None:
    lcm, tcd, tscd = (recipes.load(f"shapes_{name}") for name in ("lcm", "tcd", "tscd"))
    tuned = {"lr": 0.0, "decay": ""}
    own = {"name": "", "method": "", "stages": [], "options": {}, **tuned}
    assert replace(lcm, **own) == replace(tcd, **own) == replace(tscd, **own)
    for key in ("guidance", "points", "rank"):
        assert lcm.options[key] == tcd.options[key] == tscd.options[key]
    assert lcm.options["points"] == 40
    assert recipes.load("shapes_lcm_quick").options["guidance"] == lcm.options["guidance"]
    for shipped in (lcm, tcd, tscd):
        with pytest.raises(UsageError, match="is no pipeline's folder"):
            loop.build(replace(shipped, base="no/where"), torch.device("cpu"))
