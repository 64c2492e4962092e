"""The data folder: prompt sets, photographs and reference features that are fetched or made once.

$BENCH_DATA, or few-step-bench below $XDG_CACHE_HOME (~/.cache). `prompts/` holds prompt sets,
`pictures/` the photographs that their captions are of, under their publisher's names,
`references/NAME/` what images of NAME look like to each network.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "BENCH_DATA"


def folder() -> Path:
    """The folder; it need not exist."""
    given = os.environ.get(VARIABLE)
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "few-step-bench"


def prompts() -> Path:
    """Where prompt sets are looked for."""
    return folder() / "prompts"


def pictures() -> Path:
    """Where photographs are looked for."""
    return folder() / "pictures"


def references() -> Path:
    """Where reference features are looked for."""
    return folder() / "references"
