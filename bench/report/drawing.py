"""One axes drawn by matplotlib as a small SVG that page and PDF both set.

Text stays text, without a font; there are no ids; in the page colours go by their names.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

Box = tuple[int, int, int, int]  # margins around the axes: left, right, top, bottom
NAME_MOST = 20  # characters of a contestant's name beside an axis
INK, SOFT, LINE = "ink", "soft", "line"
TITLE = "title: "  # begins the id of a group; what follows is its title, shown on hover
STYLE_SHEET = Path(__file__).parent / "templates" / "report.css"
_SVG, _LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
_DROPPED = {"font-family", "stroke-dashoffset", "stroke-linejoin"}

# Without it ElementTree names SVG's namespace ns0 and writes it before every tag.
ElementTree.register_namespace("", "http://www.w3.org/2000/svg")


def picture(size: tuple[int, int], margins: Box, label: str, drawn: Callable[[Axes], None]) -> str:
    """An SVG with one axes, called `label`; the same bytes whenever the data are the same.

    size, margins: in 1/72 inch; colours are the page's on light paper.
    """
    import matplotlib
    from matplotlib.figure import Figure

    (width, height), (left, right, top, bottom) = size, margins
    with matplotlib.rc_context(_settings()):
        figure = Figure(figsize=(width / 72, height / 72), frameon=False)
        axes = figure.add_axes((left / width, bottom / height, (width - left - right) / width,
                                (height - top - bottom) / height), frameon=False)  # fmt: skip
        drawn(axes)
        for artist in [*axes.lines, *axes.patches, *axes.texts]:
            artist.set_clip_on(False)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None})
    return compact(written.getvalue(), label)


def titled(title: str, artists: Sequence[Artist]) -> None:
    """Gives artists a title that shows on hover."""
    for artist in artists:
        artist.set_gid(TITLE + plain(title))


def cut(name: str) -> str:
    """A name that fits beside an axis."""
    return plain(name if len(name) <= NAME_MOST else f"{name[: NAME_MOST - 1]}\u2026")


def plain(text: str) -> str:
    """Text without what XML cannot hold."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text)


def shade(name: str) -> str:
    """A colour of the page, as it is on light paper."""
    return palette()[name]


def compact(drawn: str, label: str) -> str:
    """The picture of `drawn`, matplotlib's SVG, called `label` for screen readers.

    Groups and definitions are resolved, coordinates have one decimal, fonts are left to where the
    picture is set.
    """
    root = ElementTree.fromstring(drawn)
    made = Element(
        f"{_SVG}svg", {"viewBox": root.get("viewBox", ""), "role": "img", "aria-label": label}
    )
    markers = {p.get("id", ""): p for p in root.iterfind(f".//{_SVG}defs/{_SVG}path")}
    for title, node in _leaves(root):
        _group(made, title).append(_leaf(node, markers))
    return ElementTree.tostring(made, encoding="unicode")


def on_page(drawn: str) -> Markup:
    """Markup of the page, whose colours go by their names and so follow its light or dark theme."""
    names = {value: name for name, value in reversed(palette().items())}
    shades = "|".join(names)
    return Markup(re.sub(f'(?<=:)({shades})(?=[;"])', lambda at: f"var(--{names[at[0]]})", drawn))


@cache
def palette() -> dict[str, str]:
    """The page's light colours by name, read from its style sheet."""
    style = STYLE_SHEET.read_text(encoding="utf-8")
    return dict(re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6})", style))


def _settings() -> Any:
    return {
        "svg.fonttype": "none", "svg.hashsalt": "report", "path.simplify": False,
        "text.parse_math": False,
        "font.family": "DejaVu Sans", "font.size": 11, "text.color": shade(INK),
        "axes.labelcolor": shade(SOFT), "axes.unicode_minus": True, "axes.axisbelow": True,
        "xtick.color": shade(SOFT), "ytick.color": shade(SOFT),
        "xtick.bottom": False, "ytick.left": False, "xtick.major.pad": 5, "ytick.major.pad": 5,
        "grid.color": shade(LINE), "grid.linewidth": 1,
        "lines.linewidth": 1.5, "lines.markeredgewidth": 0, "lines.solid_capstyle": "round",
    }  # fmt: skip


def _leaves(node: Element, title: str = "") -> Iterator[tuple[str, Element]]:
    """(title of its group, element) of all that is drawn, in order."""
    for child in node:
        tag = child.tag.removeprefix(_SVG)
        if tag == "g":
            name = child.get("id", "")
            own = name.removeprefix(TITLE) if name.startswith(TITLE) else title
            yield from _leaves(child, own)
        elif tag in ("path", "use", "text"):
            yield title, child


def _group(made: Element, title: str) -> Element:
    """The group of an element: one per title, continued if the last group has the same title."""
    if not title:
        return made
    last = made[-1] if len(made) else None
    if last is not None and last.findtext(f"{_SVG}title") == title:
        return last
    group = SubElement(made, f"{_SVG}g")
    SubElement(group, f"{_SVG}title").text = title
    return group


def _leaf(node: Element, markers: Mapping[str, Element]) -> Element:
    tag = node.tag.removeprefix(_SVG)
    if tag == "use":
        return _marker(node, markers[node.get(_LINK, "").removeprefix("#")])
    style = _style(node)
    if tag == "path":
        return Element(node.tag, {"d": _path(node), "style": style})
    text = Element(node.tag, {"x": _short(node, "x"), "y": _short(node, "y"), "style": style})
    text.text = node.text
    return text


def _marker(node: Element, shape: Element) -> Element:
    """A dot as a circle; any other marker as its path, moved."""
    style = _style(shape, node)
    x, y = _short(node, "x"), _short(node, "y")
    if "C" not in shape.get("d", ""):
        moved = {"d": _path(shape), "transform": f"translate({x} {y})", "style": style}
        return Element(f"{_SVG}path", moved)
    radius = shape.get("d", "").split()[2]
    return Element(f"{_SVG}circle", {"cx": x, "cy": y, "r": f"{float(radius):.3g}", "style": style})


def _style(*nodes: Element) -> str:
    """Declarations of all, later ones first."""
    found: dict[str, str] = {}
    for node in nodes:
        pairs = (part.split(":", 1) for part in node.get("style", "").split(";") if part.strip())
        found |= {name.strip(): value.strip() for name, value in pairs}
    return ";".join(f"{name}:{value}" for name, value in found.items() if name not in _DROPPED)


def _path(node: Element) -> str:
    joined = " ".join(node.get("d", "").split())
    short = re.sub(r"-?\d+\.\d+", lambda found: _number(float(found[0])), joined)
    return re.sub(r" ?([A-Za-z]) ?", r"\1", short)


def _short(node: Element, name: str) -> str:
    return _number(float(node.get(name, "0")))


def _number(value: float) -> str:
    return f"{round(value, 1) + 0.0:g}"
