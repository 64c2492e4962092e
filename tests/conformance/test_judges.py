"""Qwen3-VL's answers against transformers' own `generate`; HPSv3 against its package."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from bench.errors import UsageError
from bench.metrics import atoms
from bench.metrics.networks.base import loaded
from bench.metrics.networks.hpsv3 import Hpsv3
from bench.metrics.networks.judge import QUESTION, AtomJudge, Judge
from tests.conformance import seeded
from tests.conformance.goldens import make, qwen_words
from tests.support import qwen

GOLDEN = Path(__file__).parent / "goldens/hpsv3.json"
CHAT = make.CHAT.replace("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n", "")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return qwen.make_judge(tmp_path_factory.mktemp("judge"))


def published_way(folder: Path, image: np.ndarray, question: str) -> list[float]:
    """P(Yes), P(No) as t2v_metrics 3.1 has them: chat template, `generate`, scores of its first
    token."""
    words = PreTrainedTokenizerFast(
        tokenizer_object=qwen_words.tokenizer(), pad_token="<|endoftext|>"
    )
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessor.from_pretrained(folder), words, Qwen3VLVideoProcessor(), CHAT
    )
    said = [{"type": "image", "image": Image.fromarray(image)}, {"type": "text", "text": question}]
    given = processor.apply_chat_template(
        [{"role": "user", "content": said}], tokenize=True, add_generation_prompt=True,
        return_dict=True, return_tensors="pt",
    )  # fmt: skip
    loader: Any = Qwen3VLForConditionalGeneration
    model = loader.from_pretrained(folder).eval()
    with torch.inference_mode():
        out = model.generate(
            **given, max_new_tokens=1, do_sample=False, output_scores=True,
            return_dict_in_generate=True,
        )  # fmt: skip
    scores = out.scores[0][0].softmax(dim=-1)
    return [float(scores[words.encode(answer)[0]]) for answer in ("Yes", "No")]


def test_the_judges_answer_is_that_of_transformers_own_way(folder: Path) -> None:
    images = seeded.pictures(3, 96, 128)
    prompts = ["a red cube", "two dogs and a very small green door", "café <|image_pad|>"]
    network = loaded(Judge(weights=str(folder)))
    with torch.inference_mode():
        found = network(torch.tensor(images), prompts)
    for row, image, prompt in zip(found, images, prompts, strict=True):
        question = QUESTION.format(prompt.replace("<|", "< |"))
        assert row.tolist() == pytest.approx(published_way(folder, image, question), rel=1e-3)
    assert found[:, 0].max() > 1.05 * found[:, 0].min()


def test_atoms_are_asked_of_the_same_judge(folder: Path) -> None:
    image = torch.tensor(seeded.pictures(2, 64, 64))
    prompt, judge = "a photo of a red car and a bench", Judge(weights=str(folder))
    asked = [atom.text for atom in atoms.parse(prompt) or ()]
    assert asked == ["a car", "a bench", "a red car"]
    with torch.inference_mode():
        each = loaded(judge)(image[:1].expand(3, -1, -1, -1), asked)[:, 0].tolist()
        row, none = loaded(AtomJudge(weights=str(folder)))(image, [prompt, "a mood"]).tolist()
    held = dict(zip(atoms.COLUMNS, row, strict=True))
    assert held["prompt"] == pytest.approx(math.prod(each) ** (1 / 3), rel=1e-4)
    assert held["object"] == pytest.approx((each[0] + each[1]) / 2, rel=1e-4)
    assert held["attribution"] == pytest.approx(each[2], rel=1e-4)
    assert math.isnan(held["count"]) and all(map(math.isnan, none))


def test_question_and_weights_are_part_of_the_judges_identity(folder: Path, tmp_path: Path) -> None:
    judge = Judge(weights=str(folder))
    assert f"model={folder.name};question={QUESTION};" in judge.identity
    assert Judge(weights=str(folder), question="Is it {}?").identity != judge.identity
    with pytest.raises(UsageError, match=r"must have \{\} once"):
        _ = Judge(weights=str(folder), question="Is it?").identity
    with pytest.raises(UsageError, match="shards=many"):
        _ = Judge(shards="many").sources
    names = Judge(weights="hf://Qwen/Qwen3-VL-8B-Instruct", shards="4").companions
    assert names[-1].endswith("/model.safetensors.index.json")
    assert "hf://Qwen/Qwen3-VL-8B-Instruct/model-00004-of-00004.safetensors" in names
    for name in ("config.json", "tokenizer.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UsageError, match="git-lfs"):
        loaded(Judge(weights=str(tmp_path)))


def test_hpsv3_is_its_packages_own_reward(tmp_path: Path) -> None:
    golden = json.loads(GOLDEN.read_text())["hpsv3"]
    folder = qwen.make_hpsv3(tmp_path / "base", golden["shapes"])
    network = loaded(Hpsv3(weights=str(folder / "HPSv3.safetensors"), base=str(folder)))
    for shape, size in make.SHAPES.items():
        images = torch.tensor(seeded.pictures(len(seeded.PROMPTS), *size))
        with torch.inference_mode():
            found = network(images, list(seeded.PROMPTS)).numpy()
        assert found == pytest.approx(np.array(golden["scores"][shape]), abs=1e-5)
        assert np.ptp(found[:, 0]) > 0.01


def test_other_weights_than_hpsv3s_are_one_line(tmp_path: Path) -> None:
    golden = json.loads(GOLDEN.read_text())["hpsv3"]
    shapes = {name: shape for name, shape in golden["shapes"].items() if "layers.1" not in name}
    folder = qwen.make_hpsv3(tmp_path / "base", shapes)
    with pytest.raises(UsageError, match=r"not HPSv3's weights \(.*does not fit"):
        loaded(Hpsv3(weights=str(folder / "HPSv3.safetensors"), base=str(folder)))
