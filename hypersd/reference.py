"""Names of files on the Hugging Face hub: `hf://owner/name[@revision][/path/to/file]`.

A revision is a branch, a tag, a commit or a ref of the hub (`refs/pr/1`, `refs/convert/NAME`); any
other slash begins the path. Without a path the reference names the whole repository.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from hypersd.errors import UsageError

SCHEME = "hf://"
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
WEIGHTS = (".safetensors", *PICKLES)
_NAME = re.compile(
    r"(?:hf://)?(?P<repo>[\w.-]+/[\w.-]+)"
    r"(?:@(?P<revision>refs/\w+/[\w.-]+|[\w.-]+))?(?:/(?P<path>[^@]+))?"
)


@dataclass(frozen=True)
class Reference:
    """A file of a repository, or all of it where `path` is "". revision: None is the newest."""

    repo: str
    revision: str | None = None
    path: str = ""

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision else ""
        return f"{SCHEME}{self.repo}{at}{'/' + self.path if self.path else ''}"

    def file(self, path: str) -> Reference:
        """One file of the same repository and revision."""
        return replace(self, path=path)


def parse(name: str) -> Reference:
    """The reference in `hf://...`. Raises UsageError for any other text."""
    match = _NAME.fullmatch(name)
    if match is None or not name.startswith(SCHEME):
        raise UsageError(f"{name!r}; valid: {SCHEME}owner/name[@revision][/path]")
    return Reference(match["repo"], match["revision"], match["path"] or "")


def reference(name: str) -> Reference | None:
    """The reference in `hf://owner/name...`, or in a bare `owner/name` that is no path on this
    machine; None for any other text.
    """
    match = _NAME.fullmatch(name)
    if match is None or match["repo"].startswith("."):
        return None
    bare = not name.startswith(SCHEME)
    if bare and (match["path"] or Path(name).suffix in WEIGHTS or Path(name).exists()):
        return None
    return Reference(match["repo"], match["revision"], match["path"] or "")
