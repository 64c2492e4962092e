"""A vision-language model that answers yes or no about a picture: `vqa`, `skills`.

    P(Yes) = softmax(logits of the first token of the answer)["Yes"]

VQAScore (Lin et al. 2024, arXiv 2404.01291) on Qwen3-VL, with the question of its authors' package
t2v_metrics 3.1: 'Does this figure show "..."? Please answer Yes or No.' Another judge, or another
question, gives other numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench.errors import UsageError
from bench.metrics import atoms, weights
from bench.metrics.networks import qwen_vl
from bench.metrics.networks.base import CastNetwork, loaded
from bench.metrics.networks.placement import Movable

if TYPE_CHECKING:
    from torch import Tensor

QUESTION = 'Does this figure show "{}"? Please answer Yes or No.'
ANSWERS = ("Yes", "No")


@dataclass(frozen=True)
class Judge(CastNetwork):
    """weights: `hf://owner/name` or a folder, in transformers' format.  question: of a prompt, for
    which {} stands.  shards: of the weights' file, 1 for model.safetensors alone."""

    kind: ClassVar[str] = "qwen3_vl"
    half: ClassVar[str] = "bf16"  # as it was trained: fp16 overflows in it
    is_published_half: ClassVar[bool] = True
    weights: str = "hf://Qwen/Qwen3-VL-2B-Instruct"
    question: str = QUESTION
    shards: str = "1"

    @property
    def files(self) -> list[str]:
        """The names of the weights' files. Raises UsageError for a number that is none."""
        if not self.shards.isdecimal() or not int(self.shards):
            raise UsageError(f"{self.kind}: shards={self.shards}; must be a whole number from 1")
        count = int(self.shards)
        if count == 1:
            return ["model.safetensors"]
        return [f"model-{n + 1:05d}-of-{count:05d}.safetensors" for n in range(count)]

    @property
    def sources(self) -> tuple[str, ...]:
        """The weights' first file."""
        return (f"{self.weights}/{self.files[0]}",)

    @property
    def companions(self) -> tuple[str, ...]:
        """Configurations, vocabulary, and the other shards with their index."""
        names = ["config.json", "tokenizer.json", "preprocessor_config.json", *self.files[1:]]
        index = ["model.safetensors.index.json"] if len(self.files) > 1 else []
        return tuple(f"{self.weights}/{name}" for name in [*names, *index])

    @property
    def about(self) -> str:
        """Model, question and output, for the identity. Raises UsageError for a question that
        has no place for the prompt."""
        if self.question.count("{}") != 1:
            raise UsageError(f"{self.kind}: question={self.question!r}; must have {{}} once, where "
                             "the prompt stands")  # fmt: skip
        named = Path(self.weights).name
        return f"model={named};question={self.question};output=P(Yes),P(No)"

    @property
    def folder(self) -> Path:
        """Where all files lie, fetched if need be. Raises UsageError."""
        for companion in self.companions:
            weights.find(self.name, (companion,))
        return self.path.parent

    def build(self, device: str) -> Any:
        """The loaded model. Raises UsageError for other weights."""
        return JudgeNetwork(self, device)


class JudgeNetwork(Movable):
    """A loaded judge."""

    def __init__(self, network: Judge, device: str) -> None:
        import torch
        from transformers import Qwen3VLForConditionalGeneration

        folder, loader = network.folder, Qwen3VLForConditionalGeneration

        def load() -> tuple[Any, list[str]]:
            model, said = loader.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=network.dtype,
                output_loading_info=True,
            )  # fmt: skip
            return model, [*said["missing_keys"], *said["unexpected_keys"]]

        self.question, self.dtype = network.question, network.dtype
        self.model = qwen_vl.opened(folder, "Qwen3-VL", load)
        self.reader = qwen_vl.Reader(folder, qwen_vl.FRAME)
        self.answers = torch.tensor([self.reader.token(answer) for answer in ANSWERS])
        self.to(device)

    def __call__(self, images: Tensor, prompts: list[str]) -> Tensor:
        """[B, 2]: P(Yes), P(No) of uint8 [B, H, W, 3] and their prompts."""
        return self.answered(images, [asked(self.question, prompt) for prompt in prompts])

    def answered(self, images: Tensor, questions: list[str]) -> Tensor:
        """[B, 2]: P(Yes), P(No) for pictures uint8 [B, H, W, 3], one question each."""
        import torch

        pictures = images.permute(0, 3, 1, 2)
        found = []
        for part in qwen_vl.parts(len(questions)):
            given = self.reader(list(pictures[part]), questions[part], self.device, self.dtype)
            logits = self.model(**given, logits_to_keep=1).logits[:, -1].float()
            found.append(logits.softmax(dim=-1)[:, self.answers.to(logits.device)])
        return torch.cat(found)


def asked(question: str, text: str) -> str:
    """A question with a text in its place."""
    return question.replace("{}", text)


@dataclass(frozen=True)
class AtomJudge(Judge):
    """The same judge, asked about each atom of a prompt (`bench.metrics.atoms`)."""

    kind: ClassVar[str] = "qwen3_vl_atoms"
    partial: ClassVar[bool] = True

    @property
    def about(self) -> str:
        """What it is asked, and what it gives."""
        return f"{super().about} of each atom of grammar {atoms.VERSION};means={atoms.COLUMNS}"

    def build(self, device: str) -> Any:
        """What asks the judge, which may be loaded for `vqa` too."""
        judge = Judge(self.weights, self.question, self.shards, precision=self.precision)
        return AtomJudgeNetwork(judge, device)


class AtomJudgeNetwork:
    """Asks a judge, which is loaded once, about the atoms of prompts."""

    def __init__(self, judge: Judge, device: str) -> None:
        self.judge, self.device = judge, device
        loaded(judge, device)

    def __call__(self, images: Tensor, prompts: list[str]) -> Tensor:
        """[B, columns of `atoms.COLUMNS`]; nan where a prompt does not ask, and throughout where it
        is not of the grammar."""
        import torch

        atoms_of = [atoms.parse(prompt) or () for prompt in prompts]
        whose = [place for place, found in enumerate(atoms_of) for _ in found]
        network = loaded(self.judge, self.device)
        questions = [asked(self.judge.question, a.text) for found in atoms_of for a in found]
        if not questions:
            return torch.full((len(prompts), len(atoms.COLUMNS)), torch.nan)
        answers = network.answered(images[whose], questions)[:, 0].cpu().tolist()
        rows, start = [], 0
        for found in atoms_of:
            rows.append(atoms.means(found, answers[start : start + len(found)]))
            start += len(found)
        return torch.tensor(rows)
