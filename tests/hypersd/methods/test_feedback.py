"""Feedback learning: a known reward rises to its target and no further, structure is looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from hypersd import loop, rewards
from hypersd.errors import UsageError
from hypersd.losses import reward_hinge
from hypersd.methods.feedback import FeedbackTask
from hypersd.recipe import Recipe
from hypersd.rewards import panel
from hypersd.rewards.options import ObjectiveOptions
from hypersd.shapes.segmenter import SegmenterNet
from hypersd.student import Student
from hypersd.validation import read
from tests.hypersd.trainings import rng

ENTRY = {"kind": "aesthetic", "folder": "unused", "target": 0.2, "clip": "unused"}
RECIPE = Recipe(
    name="trial", method="feedback", steps=2, batch=2, lr=2e-2,
    data={"set": "shapes/train", "n": 4}, options={"rank": 4, "moves": 2, "rewards": [ENTRY]},
)  # fmt: skip


def brightness(images: torch.Tensor, prompts: Any) -> torch.Tensor:
    return images.mean((1, 2, 3))


@pytest.fixture
def build(built: Callable[..., FeedbackTask], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(panel, "load_reward", lambda options, device: brightness)
    return lambda **options: built(RECIPE, options={**RECIPE.options, **options})


@pytest.fixture
def segmenter(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    state = SegmenterNet(8).state_dict()
    (tmp_path / "segmenter").mkdir()
    save_file({k: v.half() for k, v in state.items()}, tmp_path / "segmenter/model.safetensors")
    return tmp_path / "segmenter"


def test_the_hinge_leaves_good_pictures_alone() -> None:
    reward = torch.tensor([-1.0, 0.1, 0.3], requires_grad=True)
    loss = reward_hinge(reward, 0.2)
    torch.testing.assert_close(loss, torch.tensor([1.2, 0.1, 0.0]))
    loss.sum().backward()
    assert reward.grad.tolist() == [-1.0, -1.0, 0.0]


def test_training_raises_the_reward_and_leaves_the_base(build: Any, tmp_path: Path) -> None:
    task = build(rewards=[ENTRY | {"target": 2.0}])
    base = {k: v.clone() for k, v in task.base.network.state_dict().items() if ".lora_" not in k}
    run, seen = loop._Run(task.recipe, task, tmp_path), []
    for step in range(12):
        run.step = step % 2
        seen.append(run.turn("student", 1.0, rng(0))["reward_aesthetic"])
    assert seen[-1] > seen[0] + 0.02
    now = task.base.network.state_dict()
    assert all(torch.equal(now[key], value) for key, value in base.items())


def test_a_reward_above_its_target_gives_no_gradient(build: Any) -> None:
    task = build(rewards=[ENTRY | {"target": -5.0}])
    total, _ = task.loss(0, rng())
    total.backward()
    assert total.item() == 0.0
    assert all(not p.grad.any() for p in task.student.parameters("student") if p.grad is not None)


def test_only_the_last_move_has_a_gradient(build: Any) -> None:
    """The UNet is called twice; the gradient is that of the last jump from where the first led."""
    task = build()
    with torch.no_grad():
        for parameter in task.student.parameters("student"):
            parameter.normal_(0, 0.02, generator=rng(1))
    z, text = torch.randn(2, 4, 16, 16, generator=rng()), task.base.encode_prompts(["a", "b"])
    task.draw(z, text, 2).sum().backward()
    found = [p.grad.clone() for p in task.student.parameters("student")]
    for parameter in task.student.parameters("student"):
        parameter.grad = None
    first, last = (torch.full((2,), t) for t in task.grid.inference(2))
    with torch.no_grad():
        x = task.schedule.jump(z, task.student.predict("student", z, first, text), first, last)
    eps = task.student.predict("student", x, last, text)
    task.schedule.jump(x, eps, last, torch.zeros(2, dtype=torch.long)).sum().backward()
    for mine, expected in zip(found, task.student.parameters("student"), strict=True):
        torch.testing.assert_close(mine, expected.grad)


def test_on_top_of_lcm_pictures_are_drawn_as_lcms(
    build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The drawn x0 is that of the sampler which is tested against diffusers' LCMScheduler; a step
    gives it fresh noise, and its preview is drawn likewise."""
    from hypersd.sampler import sample_consistency

    task = build(sampler="consistency", moves=3, fewest_moves=3)
    z, *fresh = (torch.randn(2, 4, 16, 16, generator=rng(i)) for i in range(3))
    text = task.base.encode_prompts(["a", "b"])
    network = task.student.network("student")
    expected = sample_consistency(
        lambda x, t: network(x, t, text), z, task.grid.inference(3), task.schedule, noise=fresh
    )
    torch.testing.assert_close(task.draw(z, text, 3, fresh), expected)
    given: list[Any] = []
    real = task.draw
    monkeypatch.setattr(task, "draw", lambda *a: (given.append(a), real(*a))[1])
    task.loss(0, rng())
    z, _, moves, fresh = given[0]
    assert moves == 3 and len(fresh) == 2 and not torch.equal(fresh[0], fresh[1])
    assert task.previews.sampler == "consistency"


def test_it_trains_on_top_of_a_distilled_adapter(build: Any, tmp_path: Path) -> None:
    """Before training the student is the distilled one; half its weight lies between."""
    plain = build()
    student: Student = plain.student
    with torch.no_grad():
        for parameter in student.parameters("student"):
            parameter.normal_(0, 0.05, generator=rng(2))
    student.export(tmp_path / "distilled", dtype=torch.float32)
    x, t = torch.randn(2, 4, 16, 16, generator=rng()), torch.tensor([999, 300])
    text = plain.base.encode_prompts(["a red star", "a blue ring"])
    with torch.no_grad():
        expected = student.predict("student", x, t, text)
        on_top = build(onto=str(tmp_path / "distilled")).student.predict("student", x, t, text)
        none = build(onto=str(tmp_path / "distilled"), onto_weight=0.0)
        base = none.student.predict("student", x, t, text)
        teacher = student.predict("teacher", x, t, text)
    torch.testing.assert_close(on_top, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(base, teacher, rtol=1e-4, atol=1e-4)


def test_structure_alone_trains_too(build: Any, segmenter: Path, tmp_path: Path) -> None:
    task = build(rewards=[], segmenter=str(segmenter))
    run = loop._Run(task.recipe, task, tmp_path)
    first = run.update(rng())["structure"]
    assert run.passes == {"unet_forwards": 2, "unet_backwards": 2}
    for _ in range(8):
        last = run.turn("student", 1.0, rng())["structure"]
    assert last < first
    assert all(p.grad is None for p in task.structure.net.parameters())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rewards": []}, "neither rewards nor a segmenter"),
        ({"rewards": "aesthetic"}, "must be a list"),
        ({"rewards": [{"kind": "aesthetic", "folder": "x"}]}, "'target' is missing"),
        ({"rewards": [ENTRY | {"kind": "aesthetics"}]}, "did you mean 'aesthetic'"),
        ({"rewards": [ENTRY | {"target": "high"}]}, "must be a number"),
        ({"rewards": [ENTRY | {"goal": 1}]}, "unknown key 'goal'"),
        ({"onto": "no/where"}, "weights in no/where"),
        ({"segmenter": "no/where"}, "segmenter no/where"),
        ({"guidance": 3.0}, "must be a number from 1 to 1"),
    ],
)
def test_bad_options_are_one_line(build: Any, options: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        build(**options)
    assert "\n" not in str(caught.value)


def test_shipped_evaluators_are_differentiable_rewards() -> None:
    """The same networks as the metrics': equal scores, and a gradient in every picture."""
    import numpy as np

    from hypersd.shapes.captions import caption
    from hypersd.shapes.evaluators import load_aesthetic, load_clip
    from hypersd.shapes.render import render
    from hypersd.shapes.scenes import sample_scene
    from hypersd.shapes.weights import weights_path

    scenes = [sample_scene("validation", i) for i in range(4)]
    shown, prompts = np.stack([render(s) for s in scenes]), [caption(s) for s in scenes]
    images = torch.from_numpy(shown).permute(0, 3, 1, 2).float() / 127.5 - 1
    clip, cpu = load_clip("clip"), torch.device("cpu")
    entries = [
        {"kind": "aesthetic", "folder": str(weights_path("aesthetic")), "target": 1.0,
         "clip": str(weights_path("clip"))},
        {"kind": "preference", "folder": str(weights_path("clip")), "target": 1.0},
    ]  # fmt: skip
    expected = [
        load_aesthetic()(clip.encode_image(shown)),
        100 * (clip.encode_image(shown) * clip.encode_text(prompts)).sum(1),
    ]
    for entry, truth in zip(read(list[ObjectiveOptions], entries), expected, strict=True):
        pictures = images.clone().requires_grad_()
        found = rewards.load_reward(entry, cpu)(pictures, prompts)
        torch.testing.assert_close(found, truth, rtol=1e-4, atol=1e-4)
        found.sum().backward()
        assert float(pictures.grad.abs().amax((1, 2, 3)).min()) > 0
