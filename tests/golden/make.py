"""Writes every golden file anew: python -m tests.golden.make

Only for a commit that means to change an identity, a picture or a number. Its message lists each
entry that changed and why; whatever changed beside these is a mistake to be found, not a file to be
committed.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tests.golden import current


def main() -> None:
    """identities.json, numbers.json and pictures/, as this checkout gives them."""
    for what in ("identities", "numbers", "pictures"):
        with tempfile.TemporaryDirectory() as name:
            folder = current.made(what, Path(name))
            if what == "pictures":
                shutil.rmtree(current.HERE / what, ignore_errors=True)
                shutil.copytree(folder / what, current.HERE / what)
            else:
                shutil.copy(folder / f"{what}.json", current.HERE)


if __name__ == "__main__":
    main()
