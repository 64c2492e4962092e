"""Published tables as data, against figures that papers print themselves; matching protocols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from bench.report import published
from bench.report.published import Table
from bench.results.summary import Comparison, Contestant, MetricValue, Summary


def rows(source: str, place: str) -> Mapping[str, Mapping[str, float]]:
    (found,) = [t for t in published.tables() if source in t.source and t.place == place]
    return found.values


def gap(table: Mapping[str, Mapping[str, float]], a: str, b: str, metric: str) -> float:
    return table[a][metric] - table[b][metric]


def test_hyper_sds_tables_agree_with_its_own_sums() -> None:
    """Abstract: +0.68 CLIP and +0.51 aesthetic over SDXL-Lightning at one step. Table 5 prints
    its differences."""
    table = rows("Hyper-SD", "Table 2, SDXL")
    assert gap(table, "hyper_sd_unet-1step", "lightning-1step", "clip") == pytest.approx(0.68)
    assert gap(table, "hyper_sd_unet-1step", "lightning-1step", "aesthetic") == pytest.approx(0.51)
    table = rows("Hyper-SD", "Tables 3 and 5, SDXL")
    printed = {"2": (0.13, -0.04, 0.35, 0.5), "4": (0.08, 0.24, 0.11, 0.3)}
    for steps, gaps in printed.items():
        for metric, expected in zip(
            ("clip", "aesthetic", "image_reward", "pick"), gaps, strict=True
        ):
            found = gap(table, f"tscd-{steps}step", f"tcd-{steps}step", metric)
            assert found == pytest.approx(expected)
    found = gap(table, "tscd_dmd-1step", "tcd_dmd-1step", "image_reward")
    assert found == pytest.approx(0.54)


def test_printed_scales_are_brought_to_ours() -> None:
    """A cosine of 0.2 to 0.4 is printed as such or a hundredfold; PickScore is around 22."""
    spans = {"clip": (22, 37), "pick": (20, 24), "hps": (20, 36), "aesthetic": (5, 6.5),
             "image_reward": (-0.5, 1.3)}  # fmt: skip
    for table in published.tables():
        for values in table.values.values():
            for metric, (low, high) in spans.items():
                assert low <= values.get(metric, low) <= high, (table.source, metric)


CLIP = "clip/1;100*cos;open_clip/1;weights=abc;ViT-B-32,QuickGELU;input=shortest;output=unit"
CONDITIONS: dict[str, Any] = {
    "base": "hf://stabilityai/stable-diffusion-xl-base-1.0@abc", "prompts": "coco2014_5k",
    "n": 5000, "size": 1024,
}  # fmt: skip


def run(**changes: Any) -> Summary:
    value = MetricValue(32.0, 31.9, 32.1, 5000, CLIP, True, "no")
    contestants = [
        Contestant(name, name, 4, 4, "id", 5000, [0], "", metrics={"clip": value})
        for name in ("lcm-4step", "tcd-4step")
    ]
    row = Comparison("lcm-4step", "tcd-4step", "clip", -0.1, -0.2, -0.05, 0.01, 0.01, 0.4, 5000)
    conditions = {**CONDITIONS, **changes}
    return Summary("s", "p", {}, {}, contestants, [row], conditions=conditions)


def table(**changes: Any) -> Table:
    theirs = {"base": "stable-diffusion-xl-base-1.0", "prompts": "coco2014_5k", "n": 5000,
              "size": 1024, **changes}  # fmt: skip
    values = {"lcm-4step": {"clip": 32.43}, "tcd-4step": {"clip": 32.45}}
    return Table("a", "b", "c", values, {}, theirs, {"clip": "ViT-B-32,QuickGELU;input=shortest"})


def test_a_protocol_matches_where_all_of_it_is_the_same() -> None:
    (found,) = published.beside(run(), [table()])
    assert (found.protocol, found.verdict) == ("matches", "same direction")


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        ({"size": 64}, {}, "differs: size (64 / 1024)"),
        ({"base": "hf://x/stable-diffusion-v1-5"}, {}, "differs: base"),
        ({"n": 200, "prompts": "own"}, {}, "differs: prompts (own / coco2014_5k), n (200 / 5000)"),
        ({}, {"prompts": None}, "same protocol as far as the paper states it; unstated: prompts"),
    ],
)
def test_what_differs_and_what_is_not_told_is_named(
    ours: dict[str, Any], theirs: dict[str, Any], words: str
) -> None:
    (found,) = published.beside(run(**ours), [table(**theirs)])
    assert found.protocol.startswith(words)


def test_another_network_is_another_protocol_and_matching_tables_come_first() -> None:
    other = Table(**{**vars(table()), "networks": {"clip": "ViT-g-14"}})
    found = published.beside(run(), [other, table()])
    assert [one.protocol for one in found] == ["matches", "differs: network"]


def test_values_stand_beside_published_ones_on_the_same_base_alone() -> None:
    found = published.values(run(), [table()])
    assert [(one.contestant, one.protocol) for one in found] == [
        ("lcm-4step", "matches"), ("tcd-4step", "matches")]  # fmt: skip
    assert [one.difference for one in found] == pytest.approx([-0.43, -0.45])
    assert published.values(run(base="shapes/base"), [table()]) == []


def test_a_contestant_of_a_size_of_its_own_is_held_against_that() -> None:
    """SDXL-Turbo draws at 512 px in a suite of 1024 px."""
    ours = run(sizes={"lcm-4step": 512})
    lcm, tcd = published.values(ours, [table(size=512)])
    assert (lcm.protocol, tcd.protocol) == ("matches", "differs: size (1024 / 512)")
