"""What mkdocs.yml cannot say: the README as the first page, a page of the API for each package, and
links out of docs/ as paths, since the repository's other files are not on the site."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<path>[^)#:\s]+)(?P<anchor>#[^)]*)?\)")


def on_config(config: Any) -> Any:
    """Fill the two parts of the navigation that mkdocs.yml leaves empty."""
    methods = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.glob("methods/*.md"))
    pages = {"Methods": methods, "API": [f"api/{name}.md" for name in sorted(packages())]}
    config.nav = [
        {name: pages.get(name, under) for name, under in part.items()}
        if isinstance(part, dict)
        else part
        for part in config.nav
    ]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are no files of docs/."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8").replace("](docs/", "](")
    files.append(File.generated(config, "index.md", content=readme))
    for name, modules in sorted(packages().items()):
        files.append(File.generated(config, f"api/{name}.md", content=_page(name, modules)))
    return files


def packages() -> dict[str, list[str]]:
    """The modules of each package by its name."""
    found: dict[str, list[str]] = {}
    for package in ("bench", "hypersd"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            folder = ".".join(path.parent.relative_to(ROOT).parts)
            if path.stem != "__main__":
                found.setdefault(folder, []).append(name.removesuffix(".__init__"))
    return found


def _page(name: str, modules: list[str]) -> str:
    return "\n\n".join([f"# {name}", *(f"::: {module}" for module in modules)]) + "\n"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links within docs/ as they are, links to folders and out of docs/ as text and path."""
    here = DOCS / Path(page.file.src_uri).parent

    def link(match: re.Match[str]) -> str:
        target = (here / match["path"]).resolve()
        if target == ROOT / "README.md":
            up = "../" * len(Path(page.file.src_uri).parent.parts)
            return f"[{match['text']}]({up}index.md{match['anchor'] or ''})"
        if page.file.src_uri == "index.md" and not target.exists():
            target = (ROOT / match["path"]).resolve()  # the README's own links
        if not target.exists() or (target.is_relative_to(DOCS) and target.is_file()):
            return match[0]  # mkdocs refuses a dead one
        return f"{match['text']} (`{target.relative_to(ROOT).as_posix()}`)"

    return LINK.sub(link, markdown)
