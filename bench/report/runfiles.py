"""Files of a run folder for a report besides result.json: prompts, pictures, per-prompt scores.

Everything is optional: what is absent or damaged is left out, and damage is noted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.results.entries import Arrays
from bench.results.run_folder import RunFolder
from bench.results.summary import Summary
from bench.study.sections import StudyFigures, study_section

Array = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class RunFiles:
    """A run's files, by contestant name and prompt index.

    folder: where the report goes; links are relative to it.  ids: prompts with a score [P].
    scores: by metric, one row per contestant of `names` [C, P]; nan where there is none.
    source: the run folder itself; None where the files come from several.  mixed_model: whether
    its study gets the mixed model beside the shares.  not_kept: sentences on pictures that runs did
    not keep.
    """

    folder: Path
    prompts: Mapping[int, str]
    pictures: Mapping[str, Mapping[int, Path]]
    names: Sequence[str] = ()
    ids: Ids = field(default_factory=lambda: np.zeros(0, np.int64))
    scores: Mapping[str, Array] = field(default_factory=dict)
    notes: Sequence[str] = ()
    source: Path | None = None
    mixed_model: bool = False
    not_kept: Sequence[str] = ()

    @cached_property
    def study(self) -> StudyFigures | None:
        """The run's preference study; None without one, or without a vote. Raises UsageError."""
        return None if self.source is None else study_section(self.source, self.mixed_model)

    def difference(self, a: str, b: str, metric: str) -> Array | None:
        """Scores of a minus those of b [P], nan where either has none; None without this metric."""
        if metric not in self.scores or a not in self.names or b not in self.names:
            return None
        rows = self.scores[metric]
        return np.asarray(rows[self.names.index(a)] - rows[self.names.index(b)])

    def spread(self, metric: str) -> float:
        """Standard deviation of a metric's scores over everything; 1 where it is 0."""
        values = self.scores[metric]
        found = float(np.nanstd(values)) if np.isfinite(values).any() else 0.0
        return found or 1.0

    def text(self, prompt: int) -> str:
        """The words of a prompt, or its number."""
        return self.prompts.get(prompt, f"prompt {prompt}")


def read(summary: Summary, run: Path, out: Path | None = None) -> RunFiles:
    """The files of run folder `run`, for a report that is written into `out` (default: `run`)."""
    folder, names = RunFolder(run), [c.name for c in summary.contestants]
    pictures = {name: found for name in names if (found := folder.pictures(name))}
    texts, notes = folder.legible_texts()
    columns, damaged = {}, []
    for name in names:
        arrays, damage = folder.legible_scores(name)
        columns[name] = _columns(arrays)
        damaged += damage
    ids, scores = table(names, columns)
    return RunFiles(
        out or run, texts, pictures, names, ids, scores, [*damaged, *notes], run,
        not_kept=[said] if (said := folder.not_kept) else [],
    )  # fmt: skip


def _columns(arrays: Arrays) -> dict[str, tuple[Ids, Array]]:
    """(prompts, scores) by metric, of those that have a score of every image."""
    return {
        metric: (np.asarray(arrays[f"{metric}.prompts"], np.int64), np.asarray(values, float))
        for metric, values in arrays.items()
        if f"{metric}.prompts" in arrays and len(values) == len(arrays[f"{metric}.prompts"])
    }


def table(
    names: Sequence[str], columns: Mapping[str, Mapping[str, tuple[Ids, Array]]]
) -> tuple[Ids, dict[str, Array]]:
    """All prompts [P], and scores [C, P] by metric, of (ids, scores) by contestant and metric."""
    parts = [ids for found in columns.values() for ids, _ in found.values()]
    ids = np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.int64)
    metrics = dict.fromkeys(m for found in columns.values() for m in found)
    scores = {metric: np.full((len(names), len(ids)), np.nan) for metric in metrics}
    for row, name in enumerate(names):
        for metric, (own, values) in columns.get(name, {}).items():
            scores[metric][row, np.searchsorted(ids, own)] = values
    return ids, scores


def ranges(indices: Iterable[int]) -> list[list[int]]:
    """Ascending [first, last] runs: [0, 1, 2, 5] -> [[0, 2], [5, 5]]."""
    ordered = sorted(indices)
    if not ordered:
        return []
    cuts = [i for i, (a, b) in enumerate(pairwise(ordered), 1) if b != a + 1]
    starts, ends = [0, *cuts], [*cuts, len(ordered)]
    return [[ordered[s], ordered[e - 1]] for s, e in zip(starts, ends, strict=True)]
