"""A run folder or a baseline, read back: result, suite, prompts, scores, features, pictures.

`task=run` leaves the one, `task=check update=true` makes the other out of it, in the same shape:

    result.json                          the Summary
    run.json                             command, contestants, which pictures were kept; `resolved`:
                                         the suite as it was run
    prompts.jsonl                        {"index": 0, "text": "..."} a line
    scores/<contestant>.safetensors      per-prompt scores and influences
    features/<contestant>.safetensors    what Frechet distances are made of
    images/<contestant>/<prompt>.png     some pictures (a baseline: thumbnails as .webp)

What is missing or damaged is refused, with the command that mends it. Two readers forgive, for
reports, which can do without: `legible_texts` and `legible_scores` give what there is, and a note
for the reader on what is damaged.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from bench.errors import UsageError, os_words
from bench.results import summary
from bench.results.command import command_name
from bench.results.entries import Arrays, read_entry
from bench.results.pictures import numbered_pictures
from bench.results.summary import Summary
from hypersd import exports

LISTED = 6  # contestants that a message names
NOT_KEPT = {
    "shown": "The {} kept pictures of its first prompts alone (pictures=shown); its command with "
    "pictures=all draws the others again",
    "none": "The {} kept no pictures (pictures=none); its command with pictures=all draws them "
    "again",
}


@dataclass(frozen=True)
class RunFolder:
    """A folder, read where and when it is asked.

    kind: the command line's key for it, and the noun of messages.
    """

    path: Path
    kind: Literal["run", "baseline"] = "run"

    def checked(self) -> RunFolder:
        """Itself, its result, run.json and prompts read. Raises UsageError."""
        _ = self.summary, self.about, self.texts
        return self

    @cached_property
    def summary(self) -> Summary:
        """Its result.json. Raises UsageError: no such folder, not finished, damaged."""
        if not self.path.is_dir():
            raise self.incomplete("there is no such folder")
        if not (self.path / "result.json").is_file():
            raise self._a_training() or self._unfinished()
        return summary.read(self.path / "result.json")

    @cached_property
    def about(self) -> Mapping[str, Any]:
        """Its run.json. Raises UsageError."""
        try:
            return _about(self.path / "run.json")
        except FileNotFoundError:
            raise self.incomplete("run.json is missing") from None
        except OSError as error:
            raise self._refused(f"run.json: {os_words(error)}") from None
        except ValueError:
            raise self._refused("run.json is damaged, not JSON; run its suite again") from None

    @cached_property
    def resolved(self) -> Mapping[str, Any]:
        """The suite as it was run, all keys filled in; empty where run.json does not say."""
        found = self._legible_about().get("resolved")
        return found if isinstance(found, dict) else {}

    @cached_property
    def texts(self) -> Mapping[int, str]:
        """Prompts by index. Raises UsageError."""
        try:
            texts, damage = _prompts(self.path / "prompts.jsonl")
        except FileNotFoundError:
            raise self.incomplete("prompts.jsonl is missing") from None
        except OSError as error:
            raise self._refused(f"prompts.jsonl: {os_words(error)}") from None
        if damage:
            raise self._refused(f"prompts.jsonl {damage}; each line must be {{index, text}}")
        return texts

    def legible_texts(self) -> tuple[dict[int, str], list[str]]:
        """Prompts by index up to the first damaged line; notes on the rest."""
        try:
            texts, damage = _prompts(self.path / "prompts.jsonl")
        except OSError:
            return {}, []
        return texts, [f"prompts.jsonl {damage}"] if damage else []

    def scores(self, name: str) -> Arrays:
        """A contestant's arrays `<metric>`, `<metric>.influence` and `<metric>.prompts`, [G] each
        (`bench.statistics.result` makes Results of them). Raises UsageError."""
        return self._entry("scores", name)

    def legible_scores(self, name: str) -> tuple[Arrays, list[str]]:
        """The same arrays, none where the file is missing or damaged; notes on damage."""
        path = self._entry_path("scores", name)
        try:
            return read_entry(path).arrays, []
        except FileNotFoundError:
            return {}, []
        except ValueError as error:
            return {}, [f"scores/{path.name} is damaged and was left out: {error}"]

    def features(self, name: str) -> Arrays:
        """Features by extractor [N, D], with `index` and `seed` [N]; empty where none are kept.

        Raises UsageError where they are damaged.
        """
        if not self._entry_path("features", name).is_file():
            return {}
        return self._entry("features", name)

    def pictures(self, name: str) -> dict[int, Path]:
        """A contestant's pictures by prompt index, ascending."""
        return numbered_pictures(self.path / "images" / name)

    @property
    def not_kept(self) -> str:
        """A sentence where its run did not keep all pictures; "" where some contestant has them."""
        which = NOT_KEPT.get(str(self._legible_about().get("pictures")))
        if which is None:
            return ""
        folders = (self.path / "images").glob("*")
        most = max((len(numbered_pictures(folder)) for folder in folders), default=0)
        if most >= len(self.legible_texts()[0]):
            return ""
        return which.format(self.kind)

    def incomplete(self, lack: str) -> UsageError:
        """The error for a folder that lacks something, with the command that mends it."""
        return self._refused(f"{lack}; {self._remedy()}")

    def _refused(self, why: str) -> UsageError:
        return UsageError(f"{self.kind}={self.path}: {why}")

    def _entry_path(self, kind: str, name: str) -> Path:
        return self.path / kind / f"{name}.safetensors"

    def _entry(self, kind: str, name: str) -> Arrays:
        path = self._entry_path(kind, name)
        try:
            return read_entry(path).arrays
        except FileNotFoundError:
            raise self.incomplete(f"{kind}/{path.name} is missing") from None
        except ValueError as error:
            raise self.incomplete(f"{kind}/{path.name}: {error}") from None

    def _legible_about(self) -> Mapping[str, Any]:
        try:
            return _about(self.path / "run.json")
        except (OSError, ValueError):
            return {}

    def _a_training(self) -> UsageError | None:
        """The error for a training's folder, or for its weights: what would benchmark them."""
        path, weights = self.path, exports.weights_of_training(self.path)
        is_export = (path / exports.FACTS).is_file() and (path / exports.CARD).is_file()
        if not exports.is_training(path) and not is_export:
            return None
        shown = path if is_export else weights[0] if weights else path / exports.FINAL
        key = "unet" if list(shown.glob("diffusion_pytorch_model.*")) else "lora"
        return self._refused(
            f"holds a training, which is no {self.kind}; a run of what it made: "
            f"{command_name()} suite=NAME +contestants.mine.{key}={shlex.quote(str(shown))}"
        )

    def _unfinished(self) -> UsageError:
        """The error for a folder without result.json."""
        if self.kind == "baseline":
            return self.incomplete("has no result.json, so it is no baseline")
        if not (self.path / "run.json").is_file():
            return self._refused("is not a run folder (no result.json, no run.json)")
        contestants = self._legible_about().get("contestants")
        if contestants is None:
            return self._refused("has no result.json, and its run.json is damaged; run its suite "
                                 "again")  # fmt: skip
        lacking = [n for n in contestants if not self._entry_path("scores", n).is_file()]
        more = f" and {len(lacking) - LISTED} more" if len(lacking) > LISTED else ""
        what = f"scores of {', '.join(lacking[:LISTED])}{more}" if lacking else "the comparisons"
        return self.incomplete(f"has no result.json: the run is not finished, {what} are missing")

    def _remedy(self) -> str:
        """The command that completes the folder."""
        where = shlex.quote(str(self.path))
        if self.kind == "baseline":
            where = where if "/" in where else f"./{where}"
            name = command_name()
            return f"write it with: {name} task=check run=DIR baseline={where} update=true"
        about = self._legible_about()
        limit = f" limit={about['limit']}" if about.get("limit") is not None else ""
        again = f"{command_name()} suite={about.get('suite', 'NAME')}{limit} out={where}"
        verb = "finish" if self.path.is_dir() else "make"
        return f"{verb} it with: {about.get('command') or again}"


def _about(path: Path) -> dict[str, Any]:
    """A file's JSON object, empty where it is something else. Raises OSError, ValueError."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}


def _prompts(path: Path) -> tuple[dict[int, str], str | None]:
    """Texts by index up to the first damaged line, and what is wrong from there. Raises OSError."""
    texts: dict[int, str] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except ValueError:
        return {}, "is not UTF-8"
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            texts[int(row["index"])] = str(row["text"])
        except (ValueError, KeyError, TypeError):
            return texts, f"is damaged from line {number} on"
    return texts, None
