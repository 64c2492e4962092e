"""The page and the terminal table, read as text; `test_browser.py` opens the page."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from bench.report import (
    banners,
    charts,
    drawing,
    gallery,
    html,
    pdf,
    runfiles,
    terminal,
    view,
)
from bench.results.summary import Claim, Contestant, Summary
from tests.report import synthetic

METRICS = ("fid", "fid_teacher", "clip", "aesthetic", "hps", "faithful")


class Reader(HTMLParser):
    """Collects tags, text, and every address the page mentions."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "data", "action")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def text_of(summary: Summary, width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(terminal.table(summary))
    return console.export_text()


def test_page_holds_everything_and_asks_for_nothing(summary: Summary, run_folder: Path) -> None:
    path = html.render(summary, run_folder)
    reader = Reader(path.read_text(encoding="utf-8"))
    assert path == run_folder / "report.html"
    assert reader.tags.count("script") == 2  # the gallery's data, and the page's own
    assert all(address.startswith(("data:", "#")) for address in reader.addresses)
    shown = min(12, gallery.SHOWN_WITHOUT_SCRIPT) * len(summary.contestants)
    assert reader.tags.count("img") == shown + 2  # and the two of the slider
    words = " ".join(" ".join(reader.words).split())
    for expected in (
        "One step on shapes", "tscd-1step is best on all 6 metrics", "shuffled_captions",
        "FID to teacher", "python bench.py suite=shapes_1step", "2 CPU cores",
        "seconds to generate 61.2", "expected value at this N", "What is drawn right",
    ):  # fmt: skip
        assert expected in words


def test_page_without_pictures_comparisons_or_speed(summary: Summary, tmp_path: Path) -> None:
    bare = [
        replace(c, seconds_per_image=None, training=None, peak_memory_bytes=None)
        for c in summary.contestants
    ]
    page = html.page(
        replace(summary, contestants=bare, comparisons=[], environment={}, ledger={}), tmp_path
    )
    assert "No two contestants were compared" in page
    assert 'class="best"' not in page
    assert "Quality and speed" not in page
    assert "Same prompts" not in page
    assert "Who wins" not in page


def test_page_of_an_empty_run(tmp_path: Path) -> None:
    assert "<h1>empty</h1>" in html.page(Summary("empty", "p", {}, {}, []), tmp_path)


def test_bold_only_where_the_test_supports_it(summary: Summary, tmp_path: Path) -> None:
    results = html.page(summary, tmp_path).partition('id="pairs"')[0]
    assert results.count('class="best"') == 6
    open_question = [replace(c, p_adjusted=0.2) for c in summary.comparisons]
    page = html.page(replace(summary, comparisons=open_question), tmp_path)
    assert 'class="best"' not in page.partition('id="intervals"')[0]


def test_the_page_begins_with_a_sentence_a_figure_and_the_table(
    example_summary: Callable[..., Summary], tmp_path: Path
) -> None:
    """One sentence a step count; pairs are folded below the table, all of them in one place."""
    page = html.page(example_summary(steps=(1, 2, 4, 8)), tmp_path)
    first, _, rest = page.partition('<section id="results">')
    opening = first.partition('<section id="findings">')[2]
    assert opening.count('<p class="lead">') == 4
    assert opening.count("<svg") == 1 and 'aria-label="HPS at each number of steps"' in opening
    assert "is better than" not in opening and "<details" not in opening
    table, _, after = rest.partition('<section id="pairs">')
    assert "is better than" not in table
    folded, _, below = after.partition("</details>")
    assert folded.count("is better than") >= 4 * 6 and "is better than" not in below
    assert "<details><summary>Every pair" in folded
    links = re.findall(r'<li><a href="#([a-z]+)"', page)
    assert links[:4] == ["findings", "results", "pairs", "intervals"]
    assert all(f'<section id="{link}">' in page for link in links)


def test_many_rows_of_one_step_count_stand_against_time(
    example_summary: Callable[..., Summary],
) -> None:
    summary = example_summary()
    row = summary.contestants[0]
    many = [replace(row, name=f"m{i}-1step", method=f"m{i}") for i in range(20)]
    wide = replace(summary, contestants=[*summary.contestants, *many])
    shown = charts.first(wide, charts.draw(wide))
    assert shown is not None and "against ms per image" in shown.svg
    shown = charts.first(summary, charts.draw(summary))
    assert shown is not None and "HPS, 95 % intervals" in shown.svg
    assert charts.first(summary, charts.Charts([], [], [])) is None


def test_win_tables_name_their_columns(made_up: tuple[Path, Summary]) -> None:
    run, summary = made_up
    page = html.page(summary, run)
    wins = page[page.index('<section id="wins">') : page.index('<section id="pictures">')]
    for head in re.findall(r"<thead>.*?</thead>", wins, re.DOTALL):
        names = re.findall(r'<span class="upright">([^<]+)</span>', head)
        assert names == [c.name for _, rows in view.table(summary) for c in
                         (row.contestant for row in rows)]  # fmt: skip


def test_a_long_banner_folds_and_its_lines_are_in_the_pdf(
    summary: Summary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = banners.Banner("Left out.", "Two rows.", ["line 1", "line 2"])
    long = replace(short, heading="Not as published.", lines=[f"row {i} is off" for i in range(9)])
    monkeypatch.setattr(banners, "banners", lambda *_: [short, long])
    head = html.page(summary, tmp_path).partition("<nav")[0]
    assert head.count("<details>") == 1 and "<summary>9 lines" in head
    assert head.index("line 2") < head.index("<details>") < head.index("row 0 is off")
    pdfium = pytest.importorskip("pypdfium2")
    with pdfium.PdfDocument(pdf.render(summary, tmp_path)) as opened:
        pages = [page.get_textpage().get_text_bounded() for page in opened]
    assert "line 2" in pages[0] and "row 8" not in pages[0]
    assert any("row 8 is off" in page and "How it was run" in page for page in pages)


def test_a_quick_run_and_shipped_rows_are_marked(
    tmp_path: Path, example_summary: Callable[..., Summary]
) -> None:
    quick = html.page(example_summary(limit=100), tmp_path)
    assert "Quick run." in quick
    assert "limit=100" in quick
    assert "Quick run." not in html.page(example_summary(), tmp_path)
    assert quick.count('<span class="tag">shipped</span>') == 4 + 1


def test_metrics_that_training_saw_carry_a_mark(summary: Summary, tmp_path: Path) -> None:
    first = summary.contestants[0]
    seen = replace(first.metrics["hps"], trained_on="network")
    marked = replace(first, metrics={**first.metrics, "hps": seen})
    page = html.page(replace(summary, contestants=[marked, *summary.contestants[1:]]), tmp_path)
    assert "‡</span>" in page
    assert "trained on this very network" in page
    assert "‡" not in html.page(summary, tmp_path)


def test_text_from_outside_is_escaped(summary: Summary, run_folder: Path) -> None:
    evil = '<script>alert("x")</script>'
    (run_folder / "prompts.jsonl").write_text(
        '{"index": 0, "text": "<script>alert(\\"x\\")</script>"}\n', encoding="utf-8"
    )
    first = replace(summary.contestants[0], name=evil, licence=evil)
    changed = replace(
        summary,
        title=evil,
        contestants=[first, *summary.contestants[1:]],
        environment={"command": evil, evil: evil},
        ledger={"failures": [evil]},
    )
    page = html.page(changed, run_folder)
    assert page.count("<script") == 2
    assert "&lt;script&gt;" in page
    assert "\\u003cscript\\u003e" in page  # in the gallery's data


def test_images_are_counted_by_contestant(summary: Summary, run_folder: Path) -> None:
    """Of 15 pictures that the run folder once held, three are gone."""
    name = summary.contestants[0].name
    for index in range(3):
        next((run_folder / "images" / name).glob(f"{index:05d}.*")).unlink()
    held = len(list((run_folder / "images" / name).iterdir()))
    counts = {"images": 1000, "not_scored": 0, "dropped": 7, "black": 2, "not_finite": 1,
              "prompts_cut": 4, "pictures": held + 3}  # fmt: skip
    counted = replace(summary, ledger={"by_contestant": {name: counts}})
    files = runfiles.read(counted, run_folder)
    assert view.ledger_counts(counted, files) == [(name, ["1,000", "0", "7", "3", "2", "1", "4"])]
    assert view.ledger_lines(counted, files) == []
    page = html.page(counted, run_folder)
    assert '<th scope="col">files missing</th>' in page
    assert "files missing" not in html.page(summary, run_folder)


def test_a_failed_render_leaves_the_old_page(summary: Summary, tmp_path: Path) -> None:
    html.render(summary, tmp_path)
    before = (tmp_path / "report.html").read_text(encoding="utf-8")
    broken: Any = None
    with pytest.raises(TypeError):
        html.render(replace(summary, comparisons=broken), tmp_path)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == before
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_claims_stand_with_verdict_and_numbers(summary: Summary, tmp_path: Path) -> None:
    claim = Claim(
        "TSCD beats TCD", "the opposite is shown", "worse", 3, metric="clip", delta=0.25, low=-0.5,
        high=1.0, p_adjusted=1.0, p_opposite_adjusted=0.31,
    )  # fmt: skip
    page = html.page(replace(summary, claims=[claim]), tmp_path)
    assert '<span class="verdict the-opposite-is-shown">the opposite is shown</span>' in page
    assert "difference 0.250 [\u22120.500, 1.000], adjusted p 0.31" in page
    assert "Of 1 claims" not in page and "Of 1 claim: 1 with the opposite shown." in page
    left = replace(claim, verdict="undecided", text="PCM beats LCM")
    both = html.page(replace(summary, claims=[claim, left, left]), tmp_path)
    shown, _, folded = both.partition("<summary>Not shown or undecided</summary>")
    assert "TSCD beats TCD" in shown and "PCM beats LCM" not in shown and "PCM beats LCM" in folded
    assert "Of 3 claims: 1 with the opposite shown, 2 undecided." in shown
    assert "Claims</h2>" not in html.page(summary, tmp_path)


def test_thumbnails_keep_to_their_bytes_and_skip_broken_files(
    summary: Summary, tmp_path: Path
) -> None:
    folder = tmp_path / "images" / "real"
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "00000.png")
    (folder / "00001.png").write_bytes(b"broken" * 20_000)
    Image.fromarray(noise[:64, :64]).save(folder / "00002.png")
    files = runfiles.read(summary, tmp_path)
    made = gallery.thumbnails(files, [0, 1, 2], 10**6)
    assert list(made.cells) == [0, 2]
    assert made.size == sum(len(t) for row in made.cells.values() for t in row.values())
    assert made.size < 150_000
    with Image.open(io.BytesIO(base64.b64decode(made.cells[0]["real"]))) as image:
        assert (image.format, image.size) == ("WEBP", (256, 256))
    assert list(gallery.thumbnails(files, [2, 0], made.size - 1).cells) == [2]


def test_the_page_stays_small_however_much_there_is(made_up: tuple[Path, Summary]) -> None:
    run, summary = made_up
    whole = html.page(summary, run)
    most = len(whole.encode()) - 200_000
    cut = html.page(summary, run, most=most)
    assert len(cut.encode()) <= most
    assert gallery_of(whole)["prompts"] == gallery_of(cut)["prompts"]
    assert 0 < len(gallery_of(cut)["pictures"]) < len(gallery_of(whole)["pictures"])


def gallery_of(page: str) -> Any:
    """The gallery's data in a page."""
    found = re.search(r'id="gallery-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_gallery_holds_scores_and_links_to_files_that_exist(
    made_up: tuple[Path, Summary],
) -> None:
    run, summary = made_up
    data = gallery_of(html.page(summary, run))
    assert [c["name"] for c in data["contestants"]][:2] == ["lcm-1step", "tcd-1step"]
    for entry in data["contestants"]:
        for folder, suffix, digits, ranges in entry["files"]:
            assert ranges == [[0, 39]]
            assert (run / folder / f"{39:0{digits}d}{suffix}").is_file()
    for row, entry in zip(data["scores"]["hps"], data["contestants"], strict=True):
        mean = summary.contestant(entry["name"]).metrics["hps"].value
        assert np.mean(row) == pytest.approx(mean, abs=0.005)


def test_figures_are_well_formed_and_place_values_in_order(summary: Summary) -> None:
    root = ElementTree.fromstring(charts.intervals(summary, "faithful"))
    circles = root.findall(".//{*}circle")
    students = [float(c.get("cx", "nan")) for c in circles[:3]]
    values = [c.metrics["faithful"].value for c in summary.contestants[:3]]
    assert np.argsort(students).tolist() == np.argsort(values).tolist()
    words = [text.text or "" for text in root.findall(".//{*}text")]
    assert not [w for w in words if w[0] in "\u25c2" or w[-1] in "\u25b8"]  # all on the axis
    titles = [title.text or "" for title in root.findall(".//{*}title")]
    assert titles[0].startswith("lcm-1step: ") and len(titles) == len(circles)
    ElementTree.fromstring(charts.speed(summary, "fid"))


def test_every_interval_lies_inside_its_axis(summary: Summary) -> None:
    """An anchor far from the others stretches the axis, and is drawn as they are."""
    far = summary.contestants[-1]
    value = replace(far.metrics["clip"], value=-40.0, low=-41.0, high=-39.0)
    rows = [*summary.contestants[:-1], replace(far, metrics={"clip": value})]
    root = ElementTree.fromstring(charts.intervals(replace(summary, contestants=rows), "clip"))
    across = [float(c.get("cx", "nan")) for c in root.findall(".//{*}circle")]
    assert len(across) == len(rows) and min(across) == across[-1]
    assert min(across) > charts.LABELS and max(across) < charts.WIDTH - 14


@pytest.mark.parametrize("count", [2, 9, 33])
def test_labels_of_steps_cover_neither_each_other_nor_a_point(
    example_summary: Callable[..., Summary], count: int
) -> None:
    """Contestants of 1 to 8 steps, hardly apart in time and value; boxes as the font has them."""
    row = example_summary().contestants[0]
    rng = np.random.default_rng(count)
    rows = []
    for i in range(count):
        value = 40 + 3 * rng.random()
        metrics = {"hps": replace(row.metrics["hps"], value=value, low=value - 1, high=value + 1)}
        seconds = replace(synthetic.speed(2 ** (i % 4)), median=0.01 * (1 + rng.random()))
        rows.append(replace(row, name=f"m{i}", method=f"m{i % 8}", steps=2 ** (i % 4),
                            seconds_per_image=seconds, metrics=metrics))  # fmt: skip
    root = ElementTree.fromstring(charts.speed(Summary("s", "p", {}, {}, rows), "hps"))
    ink = [drawing.palette()[f"c{i}"] for i in range(8)]
    texts = [(float(t.get("x", "")), float(t.get("y", "")), t.text or "") for t in
             root.iter("{http://www.w3.org/2000/svg}text")
             if any(colour in t.get("style", "") for colour in ink)]  # fmt: skip
    dots = [(float(c.get("cx", "")), float(c.get("cy", ""))) for c in root.findall(".//{*}circle")]
    boxes = [(x - 2.9, y - 7, x + 2.9, y) for x, y, _ in texts]  # centred above the baseline
    assert 1 <= len(texts) <= count == len(dots)
    assert len(texts) == count or count > 9
    for i, (left, top, right, bottom) in enumerate(boxes):
        for x0, y0, x1, y1 in boxes[:i]:
            assert not (left < x1 - 0.2 and x0 < right - 0.2
                        and top < y1 - 0.2 and y0 < bottom - 0.2)  # fmt: skip
        assert not any(left < x < right and top < y < bottom for x, y in dots)


def test_figures_follow_the_theme_and_carry_no_ids(summary: Summary, tmp_path: Path) -> None:
    """On paper in the colours that the page has on a light screen; the same bytes every time."""
    (chart, *_) = charts.draw(summary).intervals
    assert chart == charts.draw(summary).intervals[0]
    light = drawing.palette()
    assert f"stroke:{light['c0']}" in chart.svg and "stroke:var(--c0)" in chart.page
    drawn = re.findall(r"<svg.*?</svg>", html.page(summary, tmp_path), re.DOTALL)
    assert len(drawn) == 1 + len(METRICS) + 3  # beside the findings, intervals, against time
    for figure in drawn:
        assert not re.search(r"#[0-9a-f]{6}| id=", figure)
        assert 'role="img"' in figure and "<text" in figure and "aria-label" in figure


def test_names_in_figures_are_text(summary: Summary) -> None:
    """No markup, no mathematics, no colour."""
    evil = "$a_b$ <i>& #1f6fb4"
    first = replace(summary.contestants[0], name=evil)
    changed = replace(summary, contestants=[first, *summary.contestants[1:]])
    root = ElementTree.fromstring(charts.intervals(changed, "hps"))
    assert evil in [text.text for text in root.findall(".//{*}text")]
    assert f"{evil}: " in str(root.findtext(".//{*}title"))
    changed = replace(summary, contestants=[replace(first, name="\x01\n#000000"), first])
    page = drawing.on_page(charts.intervals(changed, "hps"))
    assert "\ufffd\ufffd#000000" in [t.text for t in ElementTree.fromstring(page).iter()]


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (23.4, 23.9), (-3.0, 170.0), (5.0, 5.0)])
def test_ticks_are_round_and_inside(summary: Summary, low: float, high: float) -> None:
    def spread(row: Contestant) -> Contestant:
        value = replace(row.metrics["hps"], value=low, low=low, high=high)
        return replace(row, metrics={"hps": value})

    made = replace(summary, contestants=[spread(row) for row in summary.contestants])
    root = ElementTree.fromstring(charts.intervals(made, "hps"))
    words = [(t.text or "").replace("\u2212", "-") for t in root.findall(".//{*}text")]
    ticks = [float(w) for w in words if re.fullmatch(r"-?[\d.]+", w)]
    margin = 0.06 * (high - low) or 0.5
    assert 1 <= len(ticks) <= 8
    assert all(low - margin <= t <= high + margin for t in ticks)
    for step in np.diff(ticks):
        assert float(f"{step:e}".split("e")[0]) == pytest.approx(
            min((1, 2, 2.5, 5, 10), key=lambda r: abs(r - float(f"{step:e}".split("e")[0])))
        )


@pytest.mark.parametrize("width", [80, 100, 120])
def test_terminal_table_has_all_names_and_values(
    example_summary: Callable[..., Summary], width: int
) -> None:
    summary = example_summary(steps=(1, 4), limit=100)
    text = text_of(summary, width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    assert "limit=100" in text
    intervals = width >= 100  # beside the values, as all names here are short
    for entry in summary.contestants:
        line = next(li for li in text.splitlines() if li.startswith(entry.name))
        assert len(re.findall(r" ±\d*\.?\d+", line)) == (len(METRICS) if intervals else 0)
        shown = re.sub(r" ±\S+", "", line).split()
        assert shown[0] == entry.name + "*" * entry.precomputed
        values = [float(word.replace(",", "")) for word in shown[1 : 1 + len(METRICS)]]
        assert values == pytest.approx([entry.metrics[m].value for m in METRICS], abs=0.0051)
        assert len(shown) == len(METRICS) + 2


@pytest.mark.parametrize("width", [80, 100])
def test_a_long_name_goes_on_below(summary: Summary, width: int) -> None:
    name = "my_pictures_of_a_model_with_a_very_long_name"
    first = replace(summary.contestants[0], name=name)
    rest = summary.contestants[1:]
    text = text_of(replace(summary, contestants=[first, *rest], comparisons=[]), width)
    assert max(map(len, text.splitlines())) <= width
    assert name in "".join(line.split(" ")[0] for line in text.splitlines())
    assert text.count("±") == (width >= 100) * len(METRICS) * len(summary.contestants)


def test_values_that_papers_print_stand_beside_ours(summary: Summary, run_folder: Path) -> None:
    """33.16 is the paper's CLIP score of SDXL (Hyper-SD, table 2); only on its base."""
    for base, there in (("hf://them/stable-diffusion-xl-base-1.0", True), ("shapes/base", False)):
        made = replace(summary, conditions={"base": base})
        words = " ".join(Reader(html.page(made, run_folder)).words)
        assert ("Here \N{MINUS SIGN} published" in words) is there
        ours = summary.contestant("teacher-25step").metrics["clip"].value
        row = f"{ours:.3f} 33.160 {ours - 33.16:.3f}".replace("-", "\N{MINUS SIGN}")
        assert (row in " ".join(words.split())) is there
