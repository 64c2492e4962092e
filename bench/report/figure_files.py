"""The figures of a report as files of their own, for a paper's or a repository's pages.

`figures/steps_<metric>.svg`, `intervals_<metric>.svg` and `speed_<metric>.svg` are the page's
charts, on white, with a legend and a font; `figures/pictures.png` has the same prompts and seeds
drawn by every contestant, prompts down.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from bench.report import charts, figures
from bench.report.drawing import INK, plain, shade
from bench.report.gallery import contestants
from bench.report.runfiles import RunFiles
from bench.report.selection import shuffled
from bench.results.summary import Summary
from hypersd.whole_files import written_whole

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    Font = ImageFont | FreeTypeFont

FONT = "Helvetica, Arial, sans-serif"
PROMPTS = 4  # of a strip of pictures
CELL, GAP, HEAD, WORDS = 128, 6, 26, 18  # pixels of a picture, around it, of names, of a prompt
ROW = CELL + WORDS + GAP
LINE = 18  # of a label or a legend, 1/72 inch


def write(summary: Summary, out: Path, files: RunFiles) -> list[Path]:
    """Write all figures that the run has data for into `out`/figures; returns their paths."""
    folder = out / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = charts.draw(summary)
    written = []
    for kind in ("steps", "intervals", "speed"):
        legend = [] if kind == "intervals" else figures.colours(summary)
        for chart in getattr(drawn, kind):
            path = folder / f"{kind}_{chart.metric}.svg"
            with written_whole(path) as beside:
                beside.write_text(standalone(chart.svg, legend), encoding="utf-8")
            written.append(path)
    if strip := pictures(summary, files):
        with written_whole(folder / "pictures.png") as beside:
            strip.save(beside, "PNG", optimize=True)
        written.append(folder / "pictures.png")
    return written


def standalone(svg: str, legend: Sequence[tuple[str, str]]) -> str:
    """A chart's SVG on white, with its label above, a font, and the methods' colours below it.

    legend: (method, name of its colour).
    """
    opened, rest = svg.split(">", 1)
    width, height = (float(n) for n in re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', opened)[0])
    label = re.findall(r'aria-label="([^"]*)"', opened)[0]
    entries, lines = _legend(legend, width, height + LINE)
    tall = height + LINE * (1 + lines)
    opened = re.sub(r'viewBox="[^"]*"', f'viewBox="0 0 {width:g} {tall:g}"', opened)
    return "".join([
        f'{opened} width="{2 * width:g}" height="{2 * tall:g}" font-family="{FONT}">',
        f'<rect width="{width:g}" height="{tall:g}" fill="#ffffff"/>',
        f'<text x="8" y="{LINE - 4}" font-size="11" fill="{shade(INK)}">{label}</text>',
        f'<g transform="translate(0 {LINE})">{rest.removesuffix("</svg>")}</g>', *entries,
        "</svg>\n",
    ])  # fmt: skip


def _legend(legend: Sequence[tuple[str, str]], width: float, top: float) -> tuple[list[str], int]:
    """(elements, lines that they take)."""
    entries, x, line = list[str](), 8.0, 0
    for method, colour in legend:
        wide = 24 + 5.8 * len(method)
        if entries and x + wide > width:
            x, line = 8.0, line + 1
        y = top + line * LINE + LINE / 2
        entries.append(
            f'<circle cx="{x + 4:g}" cy="{y:g}" r="3.2" fill="{shade(colour)}"/>'
            f'<text x="{x + 11:g}" y="{y + 3.5:g}" font-size="10" fill="{shade(INK)}">'
            f"{escape(plain(method))}</text>"
        )
        x += wide
    return entries, line + 1 if entries else 0


def pictures(summary: Summary, files: RunFiles, prompts: int = PROMPTS) -> Image | None:
    """The first of the report's random prompts, drawn by every contestant; None without pictures.

    Only prompts that every contestant has a picture of; anchors have their columns too.
    """
    from PIL import Image, ImageDraw, ImageFont

    shown = [c.name for c in contestants(summary, files)]
    rows = [p for p in shuffled(files) if all(p in files.pictures[name] for name in shown)]
    if not shown or not rows:
        return None
    size = GAP + (CELL + GAP) * len(shown), HEAD + ROW * min(prompts, len(rows))
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for column, name in enumerate(shown):
        x = GAP + (CELL + GAP) * column
        words = _fitting(plain(name), pen, font, CELL)
        pen.text((x + CELL / 2, HEAD / 2), words, "black", font, "mm")
        for row, prompt in enumerate(rows[:prompts]):
            sheet.paste(_cell(files.pictures[name][prompt]), (x, HEAD + ROW * row))
    for row, prompt in enumerate(rows[:prompts]):
        words = _fitting(plain(files.text(prompt)), pen, font, size[0] - 2 * GAP)
        pen.text((GAP, HEAD + ROW * row + CELL + WORDS / 2), words, "#555555", font, "lm")
    return sheet


def _cell(path: Path) -> Image:
    """A picture of CELL by CELL pixels, smaller ones enlarged without smoothing."""
    from PIL.Image import Resampling

    from hypersd.picture_reader import read

    picture = read(path).image.convert("RGB")
    how = Resampling.NEAREST if max(picture.size) < CELL else Resampling.LANCZOS
    return picture.resize((CELL, CELL), how)


def _fitting(words: str, pen: ImageDraw, font: Font, width: float) -> str:
    """Words cut to a width in pixels."""
    while len(words) > 1 and pen.textlength(words, font) > width:
        words = f"{words[:-2]}\u2026"
    return words
