"""A finished run in an experiment tracker: its figures, some pictures, and the report as files.

Any tracker that accelerate knows takes the figures; which take files is in `FILES`. Nothing is made
again, and the same run tracked twice is two runs of the tracker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import UsageError, brief, nearest
from bench.report import tables
from bench.report.runfiles import RunFiles
from bench.results.summary import Summary

PICTURES = 4  # of each contestant
EVENTS = "events"  # folder of a tracker that writes files, below the report's
INSTALLED_AS = {"comet_ml": "comet-ml"}


def track(summary: Summary, files: RunFiles, out: Path, name: str) -> str:
    """Log a run, whose report is in `out`, to the tracker `name`; returns a sentence on what was
    logged.

    Metrics are `clip/hyper_sd-4step` with `clip_low/...` and `clip_high/...`, the ends of the 95 %
    interval, and `ms_per_image/hyper_sd-4step`, all at step 0.
    Raises UsageError: no such tracker, not installed, or it refuses.
    """
    check(name)
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, log_with=[name], project_dir=str(out / EVENTS))
    called = {"wandb": {"name": out.resolve().name}, "mlflow": {"run_name": out.resolve().name}}
    try:
        accelerator.init_trackers(summary.suite, config=config(summary), init_kwargs=dict(called))
        tracker = accelerator.get_tracker(name)
        accelerator.log(values(summary), step=0)
        if hasattr(tracker, "log_images"):
            _pictures(tracker, files)
        found = _artefacts(summary, out)
        takes = FILES.get(name)
        if takes is not None:
            takes(tracker, found)
        elif name == "tensorboard":
            tracker.tracker.add_text("report", f"{tables.markdown(summary)}\n{out}/report.html", 0)
        accelerator.end_training()
    except (OSError, UsageError):
        raise
    except Exception as error:  # each tracker has its own, of its server and its settings
        raise UsageError(f"tracker={name}: {brief(error)}") from error
    files_words = f"{len(found)} files" if takes is not None else "no files"
    return f"{len(values(summary)):,} values and {files_words} of {summary.suite} to {name}"


def check(name: str) -> None:
    """Raise UsageError for an unknown tracker, or one that is not installed."""
    from accelerate.tracking import get_available_trackers
    from accelerate.utils import LoggerType

    known = [kind.value for kind in LoggerType if kind.value != "all"]
    if name not in known:
        raise UsageError(f"tracker={name}: {nearest(name, known)}")
    here = [kind.value for kind in get_available_trackers()]
    if name not in here:
        package = INSTALLED_AS.get(name, name)
        raise UsageError(f"tracker={name}: is not installed; pip install {package}, or one that "
                         f"is: {', '.join(sorted(here))}")  # fmt: skip


def config(summary: Summary) -> dict[str, str | int]:
    """What the run is, for a tracker's table of runs."""
    known = {key: summary.environment.get(key) for key in ("command", "commit", "time", "device")}
    of_run = {
        "suite": summary.suite,
        "protocol": summary.protocol,
        "limit": summary.limit,
        "n": max((c.n for c in summary.contestants), default=0),
        **{f"identity/{c.name}": c.identity for c in summary.contestants},
        **known,
    }
    return {key: value for key, value in of_run.items() if isinstance(value, str | int)}


def values(summary: Summary) -> dict[str, float]:
    """Every metric of every contestant with its interval's ends, and milliseconds per image."""
    found: dict[str, float] = {}
    for contestant in summary.contestants:
        for metric, value in contestant.metrics.items():
            ends = {"": value.value, "_low": value.low, "_high": value.high}
            found |= {f"{metric}{end}/{contestant.name}": one for end, one in ends.items()}
        if contestant.seconds_per_image is not None:
            found[f"ms_per_image/{contestant.name}"] = 1000 * contestant.seconds_per_image.median
    return found


def _pictures(tracker: Any, files: RunFiles) -> None:
    """The first few kept pictures of each contestant, in one picture beside each other."""
    from hypersd.picture_reader import read

    form = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
    for name, found in files.pictures.items():
        pixels = [read(found[index]).pixels for index in sorted(found)[:PICTURES]]
        same = [one for one in pixels if one.shape == pixels[0].shape]
        row = np.concatenate(same, axis=1)[None]
        tracker.log_images({f"pictures/{name}": row}, step=0, **form)


def _artefacts(summary: Summary, out: Path) -> list[Path]:
    """The report's files that are there."""
    names = ("report.html", "report.pdf", "result.json")
    found = [out / name for name in names if (out / name).is_file()]
    return [*found, *sorted(path for path in (out / "tables").glob("*") if path.is_file())]


def _to_wandb(tracker: Any, found: Sequence[Path]) -> None:
    import wandb

    artefact = wandb.Artifact(f"report-{tracker.tracker.id}", type="report")
    for path in found:
        artefact.add_file(str(path))
    tracker.tracker.log_artifact(artefact)


def _to_mlflow(tracker: Any, found: Sequence[Path]) -> None:
    for path in found:
        tracker.log_artifact(str(path), "report")


def _to_comet(tracker: Any, found: Sequence[Path]) -> None:
    for path in found:
        tracker.tracker.log_asset(str(path))


def _to_clearml(tracker: Any, found: Sequence[Path]) -> None:
    for path in found:
        tracker.tracker.upload_artifact(path.name, str(path))


FILES: dict[str, Callable[[Any, Sequence[Path]], None]] = {
    "wandb": _to_wandb,
    "mlflow": _to_mlflow,
    "comet_ml": _to_comet,
    "clearml": _to_clearml,
}
"""By tracker: how it takes files, by its own interface, since accelerate has none for all."""
