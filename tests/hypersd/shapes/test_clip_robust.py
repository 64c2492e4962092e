"""CLIP trained on under corruptions: what is seen twice, what is held where, what stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from hypersd.loop import build
from hypersd.pictures import to_unit
from hypersd.recipe import Recipe
from hypersd.shapes import captions, clip, clip_model
from hypersd.shapes.clip_robust import RobustClipTask, lost, scores_loss
from hypersd.shapes.teacher import END, build_tokenizer

STYLES = [word for pair in captions.STYLE_WORDS.values() for word in pair]


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RobustClipTask:
    """Of 24 scenes and an untrained CLIP."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    tokenizer = build_tokenizer(tmp_path / "tokenizer")
    config = clip.config({"embed": 128}, len(tokenizer), tokenizer.convert_tokens_to_ids(END))
    (tmp_path / "init").mkdir()
    clip.save(clip_model.build(config), config, tokenizer, tmp_path / "init")
    recipe = Recipe(
        "robust", "shapes_clip_robust", steps=1, batch=16, lr=1e-3, data={"start": 0, "n": 24},
        options={"init": str(tmp_path / "init"), "corrupted": 1.0, "scores": 60.0, "kept": 30.0},
    )  # fmt: skip
    found = build(recipe, torch.device("cpu"))
    assert isinstance(found, RobustClipTask)
    return found


def test_scores_are_held_where_the_clean_views_are() -> None:
    """Two pictures, one caption each and a wrong one: cosines that moved by 0.2 and 0, by hand."""
    clean, corrupted = torch.eye(2), torch.tensor([[0.8, 0.0], [0.0, 1.0]])
    text = torch.stack([torch.eye(2), torch.eye(2).flip(0)])
    expected = 0.2**2 / 4 + 0.2**2 / 4  # own captions; right captions of the batch
    assert float(scores_loss(corrupted, clean, text)) == pytest.approx(expected)
    assert float(scores_loss(clean, clean, text)) == 0


def test_pictures_without_words_of_style_are_seen_twice(task: RobustClipTask) -> None:
    said = [task.tokenizer.decode(ids) for ids in task.data.ids[:, 0].tolist()]
    styled = [any(word in text for word in STYLES) for text in said]
    assert task.data.styled.tolist() == styled and 0 < sum(styled) < len(styled)

    shown: list[Tensor] = []
    task.model.visual.register_forward_hook(lambda module, given, found: shown.append(given[0]))
    rows = torch.randint(24, (16,), generator=torch.Generator().manual_seed(0))
    clean = to_unit(task.data.pictures[rows.numpy()])
    again = clean[~task.data.styled[rows]]
    loss, scalars = task.loss(0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(shown[0][:16], clean)
    assert shown[0][16:].shape == again.shape and not torch.equal(shown[0][16:], again)
    parts = (scalars["contrast"] + 2 * scalars["hard"], scalars["corrupted"],
             60 * scalars["scores"], 30 * scalars["kept"])  # fmt: skip
    assert float(loss.detach()) == pytest.approx(sum(parts), rel=1e-5)


def test_only_the_picture_tower_learns(task: RobustClipTask) -> None:
    task.loss(0, torch.Generator().manual_seed(0))[0].backward()  # type: ignore[no-untyped-call]
    found = dict(task.model.named_parameters())
    assert {k for k, p in found.items() if p.grad is not None} == {
        k for k in found if "visual" in k
    }
    (group,) = task.groups()
    assert {id(p) for p in group["params"]} == {id(p) for k, p in found.items() if "visual" in k}


def test_what_is_lost_is_a_share_of_the_span() -> None:
    """Of grey pictures, and a score that falls by half of what they deviate from grey."""
    x = torch.zeros(4, 3, 64, 64)
    found = lost(lambda shown, further: 0.8 - 0.5 * further - float(shown.std()) / 2, x)
    assert found["span"] == 0.5
    assert found["lost_noise_15"] == pytest.approx(2 * 15 / 255 / 2 / 0.5, rel=0.02)
    assert found["lost_blur_0_8"] == 0 and abs(found["lost_jpeg_50"]) < 0.01
