"""Finished runs without a model: pictures are vectors, drawn by prompt, and judged for real."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.metrics.base import Features
from bench.metrics.frechet import FrechetDistance
from bench.metrics.references import ReferenceStatistics
from bench.results import summary
from bench.results.keys import Key
from bench.results.summary import Contestant, SecondsPerImage, Summary, Training
from bench.run.folder import write_features, write_scores
from bench.run.scoring import MeasuredContestant, score
from bench.statistics.result import Result, mean_result, share_result, to_arrays

D = 8
TRAINING = Training(24_000, 96_000, 24_000, 500.0, "2 cores")
ENVIRONMENT = {
    "command": "python bench.py", "commit": "43c29be", "device": "cpu", "hardware": "2 cores",
    "threads": 2, "precision": "fp32", "batch": 50, "versions": {"torch": "2.11.0"},
}  # fmt: skip


@cache
def target(prompt: str) -> np.ndarray:
    """What a prompt asks for: a unit vector that depends on its text alone."""
    drawn = np.random.default_rng(list(prompt.encode())).normal(size=D)
    unit: np.ndarray = drawn / np.linalg.norm(drawn)
    return unit


@dataclass(frozen=True)
class Agreement:
    """100 * cosine of picture and prompt (`clip`), or whether it is above 0.8 (`faithful`)."""

    name: str
    extractor: str = "net"
    higher_is_better: bool = True

    @property
    def identity(self) -> str:
        return f"{self.name}/1;cosine"

    def trained_on(self, method: str) -> str:
        return "no"

    def evaluate(
        self, features: Features, prompts: Sequence[str], clusters: Sequence[int]
    ) -> Result:
        asked = np.stack([target(text) for text in prompts])
        cosine = np.einsum("nd,nd->n", features, asked) / np.linalg.norm(features, axis=1)
        if self.name == "faithful":
            return share_result((cosine > 0.8).astype(float), clusters)
        return mean_result(100 * cosine, clusters)


@dataclass(frozen=True)
class Distance(FrechetDistance):
    """`fid` on the vectors."""

    extractor: Any = "net"


def judges() -> list[Any]:
    """fid, clip and faithful."""
    real = np.stack([target(f"real picture {i}") for i in range(1_000)])
    reference = ReferenceStatistics.of(real, name="real", extractor="net/1")
    return [Distance(reference), Agreement("clip"), Agreement("faithful")]


JUDGES = judges()


def texts(n: int) -> list[str]:
    return [f"a picture of thing {i}" for i in range(n)]


@cache
def noise_of(prompt: str, seed: int) -> np.ndarray:
    """What the draw of one picture adds."""
    return np.random.default_rng([seed, *prompt.encode()]).normal(size=D)


def drawn(prompts: Sequence[str], *, noise: float = 0.25, seed: int = 0) -> np.ndarray:
    """Pictures of a contestant: each depends on its prompt and the seed alone."""
    rows = [target(prompt) + noise * noise_of(prompt, seed) for prompt in prompts]
    return np.stack(rows).astype(np.float32)


@dataclass
class Made:
    """What a run is made of. pictures: features by contestant, a row per prompt; what stands before
    the first "_" or "-" of its name is its method.  trained: contestants come out of trainings."""

    prompts: list[str]
    pictures: dict[str, np.ndarray]
    seconds: float = 0.01
    memory: int = 1000
    environment: dict[str, Any] = field(default_factory=lambda: dict(ENVIRONMENT))
    protocol: str = "protocol"
    ledger: dict[str, Any] = field(default_factory=dict)
    resolved: dict[str, Any] = field(default_factory=lambda: {"seeds": [0], "size": 64})
    identities: dict[str, str] = field(default_factory=dict)
    parts: dict[str, Any] = field(default_factory=dict)
    limit: int | None = None
    shown: int = 12
    trained: bool = False


def write(folder: Path, made: Made) -> Path:
    """A run folder as `task=run` leaves it."""
    folder.mkdir(parents=True)
    keys = [Key(i, text, 0) for i, text in enumerate(made.prompts)]
    done = []
    for name, features in made.pictures.items():
        speed = SecondsPerImage(50, made.seconds, 1.1 * made.seconds, 0.0, made.seconds, 0.0)
        row = Contestant(
            name, name.split("-")[0].split("_")[0], 1, 1,
            made.identities.get(name, f"id of {name}"), len(keys), [0], "Apache-2.0", speed,
            made.memory, TRAINING if made.trained else None,
        )  # fmt: skip
        entry = MeasuredContestant(row, {"net": features}, made.prompts, range(len(keys)))
        done.append(score(entry, JUDGES))
        write_scores(folder, name, to_arrays(done[-1].results))
        write_features(folder, name, {"net": features}, keys)
        _pictures(folder / "images" / name, features[: made.shown])
    found = Summary(
        "tiny", made.protocol, made.environment, {"train": 0.0, "generate": 1.0, "score": 1.0},
        [one.contestant for one in done], [], [], made.ledger, limit=made.limit,
    )  # fmt: skip
    summary.write(found, folder / "result.json")
    about = {"suite": "tiny", "protocol": made.protocol, "contestants": {}, "parts": made.parts,
             "limit": made.limit, "resolved": made.resolved}  # fmt: skip
    (folder / "run.json").write_text(json.dumps(about))
    lines = (json.dumps({"index": i, "text": text}) for i, text in enumerate(made.prompts))
    (folder / "prompts.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def _pictures(folder: Path, features: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for index, row in enumerate(features):
        colour = tuple(int(c) for c in np.clip(128 + 60 * row[:3], 0, 255))
        Image.new("RGB", (64, 64), colour).save(folder / f"{index:05d}.png")
