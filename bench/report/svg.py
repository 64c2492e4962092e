"""matplotlib's SVG made small: text stays text, no ids, colours of the page by their names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

TITLE = "title: "  # begins the id of a group; what follows is its title, shown on hover
STYLE_SHEET = Path(__file__).parent / "templates" / "report.css"
_SVG, _LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
_DROPPED = {"font-family", "stroke-dashoffset", "stroke-linejoin"}

# Without it ElementTree names SVG's namespace ns0 and writes it before every tag.
ElementTree.register_namespace("", "http://www.w3.org/2000/svg")


def compact(drawn: str, label: str) -> str:
    """The picture of `drawn`, matplotlib's SVG, called `label` for who does not see it.

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


def coloured(drawn: str) -> str:
    """The picture in the page's colours by name, so that they follow its light and dark theme."""
    names = {shade: name for name, shade in reversed(palette().items())}
    return re.sub("#[0-9a-f]{6}", lambda found: f"var(--{names[found[0]]})", drawn)


@cache
def palette() -> dict[str, str]:
    """The page's light colours by name, read from its style sheet."""
    style = STYLE_SHEET.read_text(encoding="utf-8")
    return dict(re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6})", style))


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
    """Where an element goes: a group per title, continued where the last one has the same."""
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
