"""Data folders: inside an installed package, beside it in a checkout.

`suites/` and `reports/` are at the top of the repository; a wheel holds them as `bench/suites` and
`bench/reports` (setup.py). They are read only; the output of commands goes to the working folder.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from hypersd.errors import UsageError


def packaged(package: str, name: str) -> Path:
    """The folder `name` of a package's data: inside it, or beside it in a checkout."""
    inside = _folder(package) / name
    return inside if inside.is_dir() else inside.parent.parent / name


def checkout(package: str) -> Path | None:
    """The root of the checkout that a package is imported from; None where it is installed."""
    root = _folder(package).parent
    return root if (root / "pyproject.toml").is_file() else None


def need_checkout(package: str) -> None:
    """Raise UsageError where shipped files would be written into an installed package."""
    if checkout(package) is None:
        raise UsageError(f"writes shipped files; valid: in a checkout of the project, not in the "
                         f"package installed at {_folder(package)}")  # fmt: skip


def _folder(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None, package
    assert spec.submodule_search_locations, package
    return Path(next(iter(spec.submodule_search_locations))).resolve()
