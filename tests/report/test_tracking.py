"""A finished run in trackers: their own readers find what the result holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from accelerate.tracking import GeneralTracker
from accelerate.utils import LoggerType

from bench.report import runfiles, tracking, write
from bench.results.summary import Summary


@pytest.fixture
def reported(run_folder: Path, summary: Summary) -> Path:
    """The run folder with its report."""
    write.render(summary, run_folder)
    return run_folder


def track(run: Path, summary: Summary, name: str) -> str:
    return tracking.track(summary, runfiles.read(summary, run), run, name)


def test_tensorboard_holds_values_pictures_and_the_table(reported: Path, summary: Summary) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    said = track(reported, summary, "tensorboard")
    assert said.endswith("no files of shapes_1step to tensorboard")
    found = EventAccumulator(str(reported / "events" / "shapes_1step"))
    found.Reload()
    scalars = {tag: found.Scalars(tag)[0].value for tag in found.Tags()["scalars"]}
    for contestant in summary.contestants:
        for metric, value in contestant.metrics.items():
            key = f"{metric}/{contestant.name}"
            assert scalars[key] == pytest.approx(value.value, rel=1e-6)
            assert scalars[f"{metric}_low/{contestant.name}"] == pytest.approx(value.low, rel=1e-6)
    images = found.Tags()["images"]
    assert {tag.split("/")[1] for tag in images} >= {c.name for c in summary.contestants}
    assert found.Images(images[0])[0].width == 4 * 64
    text = found.Tensors("report/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| lcm-1step |" in text


def test_mlflow_holds_values_and_the_report(
    reported: Path, summary: Summary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    said = track(reported, summary, "mlflow")
    assert "no files" not in said
    run = mlflow.MlflowClient().search_runs(
        [mlflow.get_experiment_by_name("shapes_1step").experiment_id]
    )[0]
    lcm = summary.contestant("lcm-1step")
    assert run.data.metrics["clip/lcm-1step"] == lcm.metrics["clip"].value
    assert run.data.params["protocol"] == summary.protocol
    assert run.info.run_name == reported.name
    names = {Path(one.path).name for one in mlflow.MlflowClient().list_artifacts(
        run.info.run_id, "report")}  # fmt: skip
    assert {"report.html", "report.pdf", "results.csv", "model-index.yaml"} <= names


def test_wandb_offline_takes_them(
    reported: Path, summary: Summary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    for name, value in (("WANDB_MODE", "offline"), ("WANDB_DIR", str(tmp_path / "w")),
                        ("WANDB_SILENT", "true"), ("WANDB_DATA_DIR", str(tmp_path / "w")),
                        ("WANDB_CACHE_DIR", str(tmp_path / "w"))):  # fmt: skip
        monkeypatch.setenv(name, value)
    (tmp_path / "w").mkdir()
    assert " files of shapes_1step to wandb" in track(reported, summary, "wandb")
    [folder] = (tmp_path / "w" / "wandb").glob("offline-run-*")
    [log] = folder.glob("*.wandb")  # W&B's own records, which `wandb sync` sends
    held = log.read_bytes()
    value = summary.contestant("lcm-1step").metrics["clip"].value
    assert b"clip/lcm-1step" in held and repr(value).encode() in held
    assert b"report.html" in held and b"model-index.yaml" in held
    assert list((folder / "files/media/images/pictures").glob("lcm-1step*.png"))


def test_every_tracker_of_accelerate_is_named_or_takes_values_alone() -> None:
    known = {kind.value for kind in LoggerType} - {"all"}
    assert known >= tracking.FILES.keys()
    assert all(hasattr(GeneralTracker, name) for name in ("log", "start", "finish"))


@pytest.mark.parametrize(
    ("name", "said"),
    [("tensorbord", "did you mean 'tensorboard'"), ("aim", "is not installed; pip install aim")],
)
def test_another_is_refused_before_anything_is_written(
    name: str, said: str, run_folder: Path, summary: Summary, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench.cli import main
    from bench.results import summary as summaries

    summaries.write(summary, run_folder / "result.json")
    assert main(["task=report", f"run={run_folder}", f"tracker={name}"]) == 2
    assert said in capsys.readouterr().err
    assert not (run_folder / "report.html").exists()
