"""Adapters on one resident UNet against separate copies of it, by gradient values."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig
from safetensors.torch import load_file

from hypersd.bases.unet import UnetFamily
from hypersd.errors import UsageError
from hypersd.schedule import Schedule
from hypersd.student import Student
from tests.hypersd.gaussians import SCALED_LINEAR

SCHEDULE = Schedule.from_config(SCALED_LINEAR)


@pytest.fixture(scope="module")
def bare(tiny_base: Path) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(tiny_base, subfolder="unet").eval()


def make(bare: UNet2DConditionModel, *, zero: bool = False) -> Student:
    """A student and a target on a copy of the bare UNet, with different nonzero weights."""
    student = Student(copy.deepcopy(bare), SCHEDULE, rank=4, adapters=("student", "target"))
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name in () if zero else student.adapters:
            for parameter in student.parameters(name):
                parameter.copy_(torch.randn(parameter.shape, generator=rng) * 0.1)
    return student


def alone(bare: UNet2DConditionModel, student: Student, name: str) -> Any:
    """A copy of the bare UNet that has this one adapter and nothing to toggle."""
    unet = copy.deepcopy(bare).requires_grad_(False)
    unet.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=UnetFamily.adaptable(unet)))
    mine = [p for key, p in unet.named_parameters() if "lora_" in key]
    with torch.no_grad():
        for parameter, value in zip(mine, student.parameters(name), strict=True):
            parameter.copy_(value)
    return unet, mine


def inputs(count: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(count, 4, 16, 16, generator=rng)
    text = torch.randn(count, 24, 32, generator=rng)
    return x, torch.tensor([999, 250])[:count], text


def call(unet: Any, x: torch.Tensor, t: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    return unet(x, t, encoder_hidden_states=text, return_dict=False)[0]


def mixed_loss(teacher: Any, student: Any, target: Any) -> torch.Tensor:
    """All three roles in one graph, the student before and after the others, target with a
    gradient: what a fake score's turn or a reward's would look like."""
    x, t, text = inputs()
    first = student(x, t, text)
    base = teacher(x, t, text)
    other = target(x + 0.1 * first, t, text)
    second = student(x - 0.1 * base, t, text)
    return (first * other).mean() + (second - base).square().mean()


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_equal_those_of_separate_copies(
    bare: UNet2DConditionModel, checkpointing: bool
) -> None:
    ours = make(bare)
    if checkpointing:
        ours.unet.train()
        ours.enable_checkpointing()
    (unet, mine), (other, others) = (alone(bare, ours, name) for name in ours.adapters)
    expected = mixed_loss(*(lambda *a, u=u: call(u, *a) for u in (bare, unet, other)))
    expected.backward()

    loss = mixed_loss(*(ours.network(role) for role in ("teacher", "student", "target")))
    with ours.using("teacher"):  # a toggle between forward and backward
        loss.backward()

    torch.testing.assert_close(loss, expected)
    for name, reference in (("student", mine), ("target", others)):
        for parameter, twin in zip(ours.parameters(name), reference, strict=True):
            assert parameter.grad is not None
            torch.testing.assert_close(parameter.grad, twin.grad, rtol=1e-4, atol=1e-6)
    assert max(float(p.grad.abs().max()) for p in mine) > 1e-3


@pytest.mark.parametrize("full", [False, True])
def test_under_autocast_a_pass_without_gradient_takes_none_from_a_later_one(
    bare: UNet2DConditionModel, full: bool
) -> None:
    """Older versions of torch keep a weight's bf16 copy without its gradient: a target, or the
    moves of a path, that run first would leave the student's own pass nothing to learn by."""
    role = {"full": ["student"]} if full else {"adapters": ["student"]}
    grads = []
    for before in (False, True):
        student = Student(copy.deepcopy(bare), SCHEDULE, rank=4, **{"adapters": [], **role})
        with torch.autocast("cpu", torch.bfloat16):
            if before:
                with torch.no_grad():
                    student.predict("student", *inputs())
            loss = student.predict("student", *inputs()).square().mean()
        grads.append(torch.autograd.grad(loss, student.parameters("student")))
    assert all(map(torch.equal, *grads))
    assert max(float(grad.abs().max()) for grad in grads[1]) > 0


def test_the_teacher_is_the_base_whatever_the_adapters_hold(bare: UNet2DConditionModel) -> None:
    ours = make(bare)
    before = {key: value.clone() for key, value in bare.state_dict().items()}
    optimizer = torch.optim.AdamW(ours.parameters("student"), lr=0.1)
    x, t, text = inputs()
    for _ in range(2):
        ours.predict("student", x, t, text).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        assert torch.equal(ours.predict("teacher", x, t, text), call(bare, x, t, text))
        assert not torch.allclose(ours.predict("student", x, t, text), call(bare, x, t, text))
    after = {key.replace(".base_layer", ""): v for key, v in ours.unet.state_dict().items()}
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_a_fresh_adapter_starts_as_the_teacher_and_equal_for_a_seed(
    bare: UNet2DConditionModel,
) -> None:
    torch.manual_seed(123)
    first = make(bare, zero=True)
    state = torch.get_rng_state()
    torch.manual_seed(456)
    second = make(bare, zero=True)
    x, t, text = inputs()
    with torch.no_grad():
        assert torch.equal(first.predict("student", x, t, text), call(bare, x, t, text))
    values = [[p.detach() for p in s.parameters("student")] for s in (first, second)]
    assert all(torch.equal(a, b) for a, b in zip(*values, strict=True))
    target = first.parameters("target")
    assert all(torch.equal(a, b) for a, b in zip(values[0], target, strict=True))
    torch.manual_seed(123)
    assert torch.equal(torch.get_rng_state(), state)


def test_roles_nest_and_come_back_after_an_error(bare: UNet2DConditionModel) -> None:
    ours = make(bare)
    with ours.using("teacher"):
        with pytest.raises(RuntimeError, match="inside"), ours.using("target"):
            raise RuntimeError(f"inside {ours.role}")
        assert ours.role == "teacher"
    assert ours.role == "student"
    x, t, text = inputs()
    with torch.no_grad():
        expected = ours.predict("student", x, t, text)
        assert torch.equal(call(ours.unet, x, t, text), expected)
    with pytest.raises(UsageError, match="did you mean 'student'"), ours.using("studnt"):
        pass
    for name in ours.adapters:
        assert all(p.requires_grad for p in ours.parameters(name))


def test_every_layer_but_the_outer_ones_is_adapted(bare: UNet2DConditionModel) -> None:
    names = set(UnetFamily.adaptable(bare))
    layers = {
        key.removesuffix(".weight")
        for key, value in bare.state_dict().items()
        if key.endswith(".weight") and value.ndim > 1
    }
    left = {"conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2"}
    assert names == layers - left
    ours = make(bare)
    assert len(ours.parameters("student")) == 2 * len(names)


def test_average_moves_by_its_rate(bare: UNet2DConditionModel) -> None:
    ours = make(bare)
    target = [p.detach().clone() for p in ours.parameters("target")]
    ours.average("target", 0.9)
    for now, old, source in zip(
        ours.parameters("target"), target, ours.parameters("student"), strict=True
    ):
        torch.testing.assert_close(now, 0.9 * old + 0.1 * source)


@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 1e-5), (torch.float16, 5e-3)])
def test_a_pipeline_loads_the_export(
    bare: UNet2DConditionModel, tiny_base: Path, tmp_path: Path, dtype: torch.dtype, within: float
) -> None:
    ours = make(bare)
    path = ours.export(tmp_path, dtype=dtype)
    assert path.name == "pytorch_lora_weights.safetensors"
    held = load_file(path)
    assert len(held) == len(ours.parameters("student"))
    assert {value.dtype for value in held.values()} == {dtype}
    pipe = StableDiffusionPipeline.from_pretrained(tiny_base, local_files_only=True)
    pipe.load_lora_weights(tmp_path)
    x, t, text = inputs()
    with torch.no_grad():
        got, expected = call(pipe.unet, x, t, text), ours.predict("student", x, t, text)
        assert not torch.allclose(expected, call(bare, x, t, text), atol=0.1)
    torch.testing.assert_close(got, expected, rtol=0, atol=within * float(expected.abs().max()))


def test_a_whole_copy_trains_as_a_copy_does_and_the_base_stays(bare: UNet2DConditionModel) -> None:
    student = Student(copy.deepcopy(bare), SCHEDULE, adapters=("fake",), full=("student",))
    x, t, text = inputs()
    frozen = {k: v.clone() for k, v in student.unet.state_dict().items()}
    with student.using("teacher"), torch.no_grad():
        teacher = student.unet(x, t, encoder_hidden_states=text).sample
    loss = (student.predict("student", x, t, text) - 0.5 * teacher).square().mean()
    loss.backward()
    reference = copy.deepcopy(bare).requires_grad_(True)
    (call(reference, x, t, text) - 0.5 * teacher).square().mean().backward()
    found = {id(p) for p in student.parameters("student")}
    assert found == {id(p) for p in student.copies["student"].parameters()}
    for mine, theirs in zip(student.parameters("student"), reference.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)
    assert all(p.grad is None for p in student.unet.parameters())
    assert all(torch.equal(v, frozen[k]) for k, v in student.unet.state_dict().items())


def test_a_whole_copy_begins_as_an_adapter_and_its_export_is_a_unet(
    bare: UNet2DConditionModel, tmp_path: Path
) -> None:
    x, t, text = inputs()
    adapted = make(bare)
    adapted.export(tmp_path / "lora", dtype=torch.float32)
    whole = Student(copy.deepcopy(bare), SCHEDULE, adapters=(), full=("student",))
    whole.load("student", tmp_path / "lora")
    with torch.no_grad():
        expected = adapted.predict("student", x, t, text)
        found = whole.predict("student", x, t, text)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        whole.export(tmp_path / "unet", dtype=torch.float32)
        assert json.loads((tmp_path / "unet/config.json").read_text())["_name_or_path"] == ""
        loaded = UNet2DConditionModel.from_pretrained(tmp_path / "unet")
        torch.testing.assert_close(call(loaded, x, t, text), found)
        again = Student(copy.deepcopy(bare), SCHEDULE, adapters=(), full=("student",))
        again.load("student", tmp_path / "unet")
        torch.testing.assert_close(again.predict("student", x, t, text), found)
    assert all(p.requires_grad for p in whole.parameters("student"))


@pytest.mark.parametrize("full", [True, False])
def test_weights_that_do_not_fit_are_one_line(
    bare: UNet2DConditionModel, tmp_path: Path, full: bool
) -> None:
    roles = {"adapters": (), "full": ("student",)} if full else {}
    student = Student(copy.deepcopy(bare), SCHEDULE, rank=4, **roles)
    (tmp_path / "pytorch_lora_weights.safetensors").write_bytes(b"damaged")
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match="weights in") as caught:
            student.load("student", folder)
        assert "\n" not in str(caught.value)
