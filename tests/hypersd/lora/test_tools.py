"""The tools that read a LoRA and write another, and adapters that begin as one: as strong as the
file says."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hypersd import kohya, merge
from hypersd.bases.unet import UnetFamily
from hypersd.errors import UsageError
from hypersd.lora import merging, reader
from hypersd.lora.reader import WEIGHT_NAME
from hypersd.schedule import Schedule
from hypersd.student import Student, add_adapter_to
from tests.hypersd.gaussians import SCALED_LINEAR
from tests.hypersd.lora.conftest import Networks

ALPHA = 6  # of rank 4


def lora(unet: Any, folder: Path, *, rank: int = 4, dora: bool = False, every: int = 1) -> Path:
    """A random LoRA of every n-th layer that trainings adapt, with an alpha in its metadata, as
    diffusers writes it."""
    rng, state = torch.Generator().manual_seed(1), {}
    for name in UnetFamily.adaptable(unet)[::every]:
        outputs, inputs, *kernel = unet.get_submodule(name).weight.shape
        key = f"unet.{name}.lora_"
        state[f"{key}A.weight"] = torch.randn((rank, inputs, *kernel), generator=rng)
        ones = [1] * len(kernel)
        state[f"{key}B.weight"] = torch.randn((outputs, rank, *ones), generator=rng) * 0.1
        if dora:
            state[f"{key}magnitude_vector"] = torch.rand(outputs, generator=rng) + 0.5
    about = {"unet.r": rank, "unet.lora_alpha": ALPHA, "unet.use_dora": dora}
    folder.mkdir(parents=True)
    metadata = {"lora_adapter_metadata": json.dumps(about)}
    save_file(state, folder / reader.WEIGHT_NAME, metadata=metadata)
    return folder


def weights(unet: Any, file: Path) -> dict[str, torch.Tensor]:
    """A copy of a UNet's weights with a LoRA in them."""
    tuned = copy.deepcopy(unet)
    assert merging.merge(reader.read(reader.find(file)), {"unet": tuned})
    found: dict[str, torch.Tensor] = tuned.state_dict()
    return found


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("dora", [False, True])
def test_kohyas_form_is_as_strong(networks: Networks, tmp_path: Path, dora: bool) -> None:
    folder, unet = lora(networks["unet"], tmp_path / "a", dora=dora), networks["unet"]
    expected = weights(unet, folder)
    assert kohya.main([str(folder)]) == 0
    assert_equal(weights(unet, folder / kohya.NAME), expected)
    alphas = [v for k, v in load_file(folder / kohya.NAME).items() if k.endswith("alpha")]
    assert {float(alpha) for alpha in alphas} == {ALPHA}


def test_a_merged_lora_is_as_strong(networks: Networks, tmp_path: Path) -> None:
    """A sum with one of another rank, at weights of 1 and 0.5."""
    unet = networks["unet"]
    first = lora(unet, tmp_path / "a")
    second = lora(unet, tmp_path / "b", rank=2)
    merge.merge([(first, 1.0), (second, 0.5)], tmp_path / "sum")
    one, half = weights(unet, first), copy.deepcopy(unet)
    add_adapter_to(half, second, 0.5)
    plain = unet.state_dict()
    added = {key: one[key] + value - plain[key] for key, value in half.state_dict().items()}
    assert_equal(weights(unet, tmp_path / "sum"), added)


def test_a_small_weight_loses_nothing_in_half_precision(networks: Networks, tmp_path: Path) -> None:
    """1e-5 of an fp16 factor lies among the smallest numbers that fp16 has."""
    folder = lora(networks["unet"], tmp_path / "a")
    held = {name: value.half() for name, value in load_file(folder / WEIGHT_NAME).items()}
    save_file(held, folder / WEIGHT_NAME)
    merge.merge([(folder, 1e-5), (folder, 0.0)], tmp_path / "sum")
    pairs = zip(reader.read(folder / WEIGHT_NAME), reader.read(tmp_path / "sum" / WEIGHT_NAME),
                strict=True)  # fmt: skip
    for own, found in pairs:
        scaled = [layer.up.double().flatten(1) @ layer.down.double().flatten(1) * layer.scale
                  for layer in (own, found)]  # fmt: skip
        assert (scaled[1] - 1e-5 * scaled[0]).norm() <= 1e-3 * 1e-5 * scaled[0].norm()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a:nan", "a", "out=x"], "a:nan: weight 'nan'; valid: a number"),
        (["a:1e999", "a", "out=x"], "a:1e999: weight '1e999'; valid: a number"),
        (["a", "a", "out="], "usage: python -m hypersd.merge"),
    ],
)
def test_a_merge_of_no_sense_is_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert merge.main(words) == 2
    assert said in capsys.readouterr().err


def test_what_is_no_sum_is_refused(
    networks: Networks, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, dora = lora(networks["unet"], tmp_path / "a"), tmp_path / "b"
    lora(networks["unet"], dora, dora=True)
    assert merge.main([str(plain), str(dora), f"out={tmp_path / 'sum'}"]) == 2
    assert "b: is a DoRA, which is no sum; valid: a LoRA" in capsys.readouterr().err
    kohya.convert(plain)
    assert merge.main([str(plain), str(plain / kohya.NAME), f"out={tmp_path / 'sum'}"]) == 2
    assert "is in kohya's keys; valid: " in capsys.readouterr().err


@pytest.mark.parametrize(("rank", "every"), [(4, 1), (2, 1), (3, 3)])
def test_an_adapter_begins_as_any_lora(
    networks: Networks, tmp_path: Path, rank: int, every: int
) -> None:
    """Of any alpha, of a lower rank, of fewer layers; what the adapter was before is gone, and
    what is left over of its rank can learn."""
    folder = lora(networks["unet"], tmp_path / "a", rank=rank, every=every)
    unet = copy.deepcopy(networks["unet"])
    student = Student(unet, Schedule.from_config(SCALED_LINEAR), rank=4)
    with torch.no_grad():
        for parameter in student.parameters("student"):
            parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(2))
    student.load("student", folder)
    assert_equal(weights(networks["unet"], student.export(tmp_path / "out", dtype=torch.float32)),
                 weights(networks["unet"], folder))  # fmt: skip
    factors = list(zip(student.parameters("student")[::2], student.parameters("student")[1::2],
                       strict=True))  # fmt: skip
    assert all((down.flatten(1) != 0).any(1).all() for down, _ in factors)


@pytest.mark.parametrize(
    ("words", "says"),
    [({"rank": 5}, "is of rank 5; valid: a LoRA of at most rank 4"),
     ({"dora": True}, "is a DoRA; valid: a LoRA of at most rank 4")],
)  # fmt: skip
def test_what_an_adapter_cannot_be_is_refused(
    networks: Networks, tmp_path: Path, words: dict[str, Any], says: str
) -> None:
    folder = lora(networks["unet"], tmp_path / "a", **words)
    unet = copy.deepcopy(networks["unet"])
    student = Student(unet, Schedule.from_config(SCALED_LINEAR), rank=4)
    with pytest.raises(UsageError, match=says):
        student.load("student", folder)
    outer = {f"unet.conv_in.lora_{half}.weight": torch.ones(shape)
             for half, shape in (("A", (1, 4, 3, 3)), ("B", (16, 1, 1, 1)))}  # fmt: skip
    save_file(outer, tmp_path / "outer.safetensors")
    with pytest.raises(
        UsageError, match="not in the network's layers that are trained: unet: conv_in"
    ):
        student.load("student", tmp_path / "outer.safetensors")
    unet = copy.deepcopy(networks["unet"])
    whole = Student(unet, Schedule.from_config(SCALED_LINEAR), adapters=(), full=("student",))
    whole.load("student", folder)  # a whole copy can
    assert_equal(whole.copies["student"].state_dict(), weights(networks["unet"], folder))
