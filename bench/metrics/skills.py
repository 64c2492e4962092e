"""`skills` and its parts: can a model draw objects, counts, colours, positions?

A prompt is taken apart into atoms (`bench.metrics.atoms`; in the world by the captions' grammar),
each of one skill, and each is answered from 0 to 1: by a judge's P(Yes), or by the world's oracle,
which says 0 or 1.

    skills        mean over prompts of the geometric mean over a prompt's atoms: one atom missed is
                  a prompt missed
    skills_atoms  mean over prompts of the arithmetic mean over a prompt's atoms
    skill_object, skill_count, skill_colour, skill_position, skill_attribution
                  mean over the prompts that ask for it of that skill's atoms
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.errors import UsageError
from bench.metrics import atoms
from bench.metrics.base import Features, HeldOut
from bench.metrics.faithful import COLUMNS as JUDGED
from bench.metrics.networks.base import Network
from bench.statistics.result import Array, Result, mean_result
from hypersd.shapes.captions import parse

NAMES = {"skills": "prompt", "skills_atoms": "atoms"} | {f"skill_{s}": s for s in atoms.SKILLS}
WORLD = {"shape": "object", "count": "count", "colour": "colour", "relation": "position"}


@dataclass(frozen=True)
class Skill(HeldOut):
    """name: which of them.  network: the extractor's identity.  of_oracle: whether answers are the
    world's oracle's."""

    name: str
    network: str
    extractor: str
    of_oracle: bool = False

    higher_is_better: ClassVar[bool] = True

    @property
    def identity(self) -> str:
        whose = "oracle's 0 or 1" if self.of_oracle else "P(Yes)"
        return f"{self.name}/1;mean of {NAMES[self.name]};{whose};{self.network}"

    def evaluate(
        self, features: Features, prompts: Sequence[str], clusters: Sequence[int]
    ) -> Result:
        """features: rows of `atoms.COLUMNS`, or of the oracle, for N pictures.

        Raises UsageError where a prompt is not of the grammar, and where none asks for the skill.
        """
        rows = np.asarray(features, np.float64)
        unread = np.flatnonzero(np.isnan(rows[:, 0]))
        if len(unread):
            raise UsageError(
                f"metric {self.name!r}: prompt {clusters[unread[0]]} {prompts[unread[0]]!r} cannot "
                "be taken apart into atoms"
            )
        rows = of_oracle(rows, prompts) if self.of_oracle else rows
        column = rows[:, atoms.COLUMNS.index(NAMES[self.name])]
        asked = np.flatnonzero(~np.isnan(column))
        if not len(asked):
            raise UsageError(f"metric {self.name!r}: no prompt asks for it")
        return mean_result(column[asked], np.asarray(clusters)[asked].tolist())


def of_oracle(judged: Array, prompts: Sequence[str]) -> Array:
    """Rows of `atoms.COLUMNS` from the oracle's verdicts.

    Things, count, colours and relation are atoms as they stand. Attribution, of captions of two
    things or more: each colour and size on its own shape, in its place.
    """
    answers = {skill: judged[:, JUDGED.index(column)] for column, skill in WORLD.items()}
    several = ["attribution" in asked_of_caption(prompt) for prompt in prompts]
    answers["attribution"] = np.where(several, judged[:, JUDGED.index("right")], np.nan)
    table = np.stack([answers[skill] for skill in atoms.SKILLS], axis=1)
    means = np.nanmean(table, axis=1)
    # of noughts and ones the geometric mean is the smallest
    return np.column_stack([np.nanmin(table, axis=1), means, table])


def asked_of_caption(text: str) -> set[str]:
    """The skills that a caption of the world asks for; none where it is not one."""
    spec = parse(text)
    if spec is None:
        return set()
    related = {"position"} if spec.relation is not None else set()
    bound = {"attribution"} if len(spec.things) > 1 else set()
    return {"object", "count", "colour"} | related | bound


def asked_of_prompt(text: str) -> set[str]:
    """The skills that a prompt of the atoms' grammar asks for; none where it is not one."""
    return {atom.skill for atom in atoms.parse(text) or ()}


def of_judge(name: str, network: Network, settings: Mapping[str, str]) -> Skill:
    """One of them, answered by a judge."""
    del settings
    return Skill(name, network.identity, network.name)


def of_the_world(name: str, network: Network, settings: Mapping[str, str]) -> Skill:
    """One of them, answered by the world's oracle."""
    del settings
    return Skill(name, network.identity, network.name, of_oracle=True)
