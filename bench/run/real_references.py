"""Makes reference features of a folder's images, for distances on photographs.

    python -m bench.run.real_references NAME FOLDER [METRIC ...] [preset=PRESET]

writes `references/NAME/<network>.safetensors` into the data folder for each network that the
metrics need (default: fid), for sets whose pictures a run does not fetch or draw itself
(`bench.run.made_references`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.errors import UsageError, exit_code, listed, nearest
from bench.metrics import Network, network_of
from bench.metrics.references import path_of
from bench.run.progress import Reporter, console
from bench.statistics.metrics import METRICS
from bench.suite import protocols
from hypersd.picture_files import SUFFIXES, is_other_picture, is_picture


def images(folder: Path) -> list[Path]:
    """The pictures of a folder, by name; those of other formats are named on stdout.

    Raises UsageError for fewer than two, and for two of one name but for the suffix.
    """
    found = sorted(p for p in folder.glob("*") if is_picture(p))
    if len(found) < 2:
        raise UsageError(f"{folder}: holds {len(found)} images ({', '.join(SUFFIXES)})")
    first: dict[str, Path] = {}
    twins = [f"{first[path.stem].name} and {path.name}" for path in found
             if first.setdefault(path.stem, path) is not path]  # fmt: skip
    if twins:
        raise UsageError(f"{folder}: holds pictures twice: {listed(twins)}; valid: one of them")
    others = sorted(p.name for p in folder.glob("*") if is_other_picture(p))
    if others:
        print(f"{folder}: {len(others)} pictures in other formats are left out: {listed(others)}; "
              f"valid: {', '.join(SUFFIXES)}")  # fmt: skip
    return found


def networks(metrics: Sequence[str], preset: str | None) -> list[Network]:
    """The networks of some metrics, each once, with a preset's settings. Raises UsageError."""
    settings = protocols.read(preset).metrics if preset else {}
    valid = [n for n, row in METRICS.items() if row.published and "reference" in row.published.keys]
    for name in metrics:
        if name not in valid:
            raise UsageError(f"metric {name!r} has no reference; {nearest(name, valid)}")
    found = (network_of(name, settings.get(name) or {}, published=True) for name in metrics)
    return list(dict.fromkeys(found))


def write(name: str, paths: Sequence[Path], network: Network, device: str) -> Path:
    """A reference of pictures in one network; its file."""
    from bench.run.made_references import of_files

    path = path_of(network, name)
    with Reporter(console()).bar(f"{name}, {network.label}", len(paths)) as advance:
        of_files(name, paths, network, device, advance).save(path)
    return path


def main(arguments: Sequence[str]) -> int:
    """Write every file and say where; 2 and one line for a mistake."""
    return exit_code(lambda: _make(arguments))


def _make(arguments: Sequence[str]) -> None:
    from bench.contestants.pipelines import device_of

    given = [word for word in arguments if "=" not in word]
    preset = next((w.removeprefix("preset=") for w in arguments if w.startswith("preset=")), None)
    if len(given) < 2:
        raise UsageError("usage: python -m bench.run.real_references NAME FOLDER [METRIC ...]")
    name, folder, metrics = given[0], Path(given[1]), given[2:]
    paths, device = images(folder), str(device_of("auto"))
    for network in networks(metrics or ["fid"], preset):
        print(write(name, paths, network, device))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
