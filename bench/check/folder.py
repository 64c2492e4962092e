"""A run folder or a baseline, read back: results, features, prompts, pictures.

Both have the same shape (`task=run` makes the one, `update=true` the other out of it):

    result.json  run.json  prompts.jsonl
    scores/<contestant>.safetensors      per-prompt scores and influences
    features/<contestant>.safetensors    what Frechet distances are made of
    images/<contestant>/<prompt>.png     some pictures (a baseline: thumbnails as .webp)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import UsageError
from bench.results import summary
from bench.results.entries import Arrays, read_entry
from bench.results.summary import Contestant, Summary
from bench.statistics.result import Result

PICTURES = (".png", ".jpg", ".webp")


@dataclass(frozen=True)
class Folder:
    """A finished run or a baseline.

    what: "run" or "baseline", for messages.  about: its run.json.  texts: prompts by index.
    """

    path: Path
    what: str
    summary: Summary
    about: Mapping[str, Any]
    texts: Mapping[int, str]

    @cached_property
    def resolved(self) -> Mapping[str, Any]:
        """The suite as it was run, all keys filled in; empty where not recorded."""
        found = self.about.get("resolved")
        return found if isinstance(found, dict) else {}

    def results(self, name: str) -> dict[str, Result]:
        """A contestant's metrics with their per-prompt parts. Raises UsageError."""
        arrays = self._entry("scores", name)
        values = self.summary.contestant(name).metrics
        found = {}
        for metric, value in values.items():
            prompts = arrays.get(f"{metric}.prompts")
            scores, influence = arrays.get(metric), arrays.get(f"{metric}.influence")
            if prompts is None or (scores is None and influence is None):
                raise self.incomplete(f"scores/{name}.safetensors lacks {metric}")
            found[metric] = Result(
                value.value, value.low, value.high, value.n, prompts, scores, influence,
                value.covers, value.parts, value.kind, value.at_infinity,
            )  # fmt: skip
        return found

    def features(self, name: str) -> Arrays:
        """Features by extractor [N, D], with `index` and `seed` [N]; empty where none are kept."""
        if not (self.path / "features" / f"{name}.safetensors").is_file():
            return {}
        return self._entry("features", name)

    def pictures(self, name: str) -> dict[int, Path]:
        """A contestant's pictures by prompt index."""
        folder = self.path / "images" / name
        if not folder.is_dir():
            return {}
        paths = [p for p in folder.iterdir() if p.suffix in PICTURES and p.stem.isdecimal()]
        return {int(path.stem): path for path in sorted(paths)}

    def broken(self, contestant: Contestant) -> list[str]:
        """The ledger's lines on pictures of a contestant that were black or not finite."""
        lines: list[str] = []
        for kind in ("not_finite", "black"):
            held = self.summary.ledger.get(kind)
            lines += [str(line) for line in held] if isinstance(held, list) else []
        return [line for line in lines if line.startswith(f"{contestant.name}: ")]

    def incomplete(self, lack: str) -> UsageError:
        """The error for a folder that lacks something, with the command that mends it."""
        return UsageError(f"{self.what}={self.path}: {lack}; {_remedy(self.path, self.what)}")

    def _entry(self, kind: str, name: str) -> Arrays:
        path = self.path / kind / f"{name}.safetensors"
        try:
            return read_entry(path).arrays
        except FileNotFoundError:
            raise self.incomplete(f"{kind}/{path.name} is missing") from None
        except ValueError as error:
            raise self.incomplete(f"{kind}/{path.name}: {error}") from None


def read(path: Path, what: str) -> Folder:
    """The run or baseline at `path`. Raises UsageError: what is missing or damaged, what mends it.

    what: "run" or "baseline".
    """
    if not path.is_dir():
        raise UsageError(f"{what}={path}: no such folder; {_remedy(path, what)}")
    if not (path / "result.json").is_file():
        lack = "has no result.json: the run was not finished" if what == "run" else (
            "has no result.json, so it is no baseline")  # fmt: skip
        raise UsageError(f"{what}={path}: {lack}; {_remedy(path, what)}")
    found = summary.read(path / "result.json")
    about = _json(path / "run.json", path, what)
    return Folder(path, what, found, about, _texts(path / "prompts.jsonl", path, what))


def _json(file: Path, path: Path, what: str) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{what}={path}: {file.name} is missing; {_remedy(path, what)}") from None
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{what}={path}: {file.name} is damaged ({reason})") from None
    return found if isinstance(found, dict) else {}


def _texts(file: Path, path: Path, what: str) -> dict[int, str]:
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        return {int(row["index"]): str(row["text"]) for row in rows}
    except FileNotFoundError:
        raise UsageError(f"{what}={path}: {file.name} is missing; {_remedy(path, what)}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{what}={path}: {file.name} is damaged ({error!r})") from None


def _remedy(path: Path, what: str) -> str:
    """What makes the folder whole, as a command."""
    if what == "baseline":
        place = str(path) if "/" in str(path) else f"./{path}"
        return f"write it with: python bench.py task=check run=DIR baseline={place} update=true"
    try:
        suite = json.loads((path / "run.json").read_text(encoding="utf-8"))["suite"]
    except (OSError, ValueError, KeyError, TypeError):
        suite = "NAME"
    return f"finish it with: python bench.py suite={suite} out={path}"


def aligned(folder: Folder, like: Folder) -> dict[int, int]:
    """Prompt index in `folder` -> index of the same text in `like`.

    A text that comes several times is matched in its order of appearance. Texts that `like` lacks
    are left out (`protocol.differences` has refused them before).
    """
    places: dict[str, list[int]] = {}
    for index, text in sorted(like.texts.items()):
        places.setdefault(text, []).append(index)
    found = {}
    for index, text in sorted(folder.texts.items()):
        if places.get(text):
            found[index] = places[text].pop(0)
    return found


def renumbered(results: Mapping[str, Result], places: Mapping[int, int]) -> dict[str, Result]:
    """Results with the prompt ids of another folder, ascending again."""
    found = {}
    for metric, result in results.items():
        ids = np.array([places[int(index)] for index in result.prompts], np.int64)
        order = np.argsort(ids)
        parts = {
            part: None if values is None else values[order]
            for part, values in (("per_prompt", result.per_prompt), ("influence", result.influence))
        }
        found[metric] = Result(**{**vars(result), "prompts": ids[order], **parts})
    return found
