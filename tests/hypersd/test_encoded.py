"""Real pictures: three kinds of source, one data set; damage is counted, named and limited."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from PIL import Image, ImageOps

from hypersd import encoded
from hypersd.base import Base, load_base
from hypersd.conditions import SdxlText
from hypersd.data import PictureDataset
from hypersd.encoded import load_pictures, prepare
from hypersd.errors import UsageError
from hypersd.sources import PictureSource, find, read_data
from tests.hypersd.real_models import make_pictures, make_sd15, make_sdxl


def find_in(data: dict[str, object]) -> PictureSource:
    return find(read_data(data))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def sd15(tmp_path_factory: pytest.TempPathFactory) -> Base:
    made = make_sd15(tmp_path_factory.mktemp("models") / "sd15")
    return load_base(str(made), torch.device("cpu"))


@pytest.fixture(scope="module")
def sdxl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sdxl(tmp_path_factory.mktemp("models") / "sdxl")


@pytest.fixture(scope="module")
def sdxl(sdxl_folder: Path) -> Base:
    return load_base(str(sdxl_folder), torch.device("cpu"))


def as_shards(folder: Path, to: Path) -> str:
    """The folder's pictures in two tar files, as webdataset wants them."""
    to.mkdir()
    stems = sorted(p.stem for p in folder.glob("*.png"))
    for number, part in enumerate((stems[:4], stems[4:])):
        with tarfile.open(to / f"{number:03d}.tar", "w") as shard:
            for stem in part:
                for suffix in (".png", ".txt"):
                    shard.add(folder / f"{stem}{suffix}", f"{stem}{suffix}")
    return str(to / "*.tar")


def test_a_folder_and_shards_hold_the_same_samples(folder: Path, tmp_path: Path) -> None:
    plain = list(find_in({"folder": str(folder)}).samples())
    shards = list(find_in({"webdataset": as_shards(folder, tmp_path / "shards")}).samples())
    assert [(s.image, s.caption) for s in plain] == [(s.image, s.caption) for s in shards]
    assert len(plain) == 6 and all(s.caption for s in plain)


def test_a_hugging_face_dataset_holds_the_same_samples(folder: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    files = sorted(folder.glob("*.png"))
    rows = {
        "image": [{"bytes": p.read_bytes(), "path": None} for p in files],
        "words": [[p.with_suffix(".txt").read_text(), "another"] for p in files],
    }
    features = datasets.Features(
        {"image": datasets.Image(), "words": datasets.Sequence(datasets.Value("string"))}
    )
    (tmp_path / "set").mkdir()
    datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "set/train.parquet")
    found = find_in({"dataset": str(tmp_path / "set"), "caption": "words"}).samples()
    plain = find_in({"folder": str(folder)}).samples()
    assert [(s.image, s.caption) for s in found] == [(s.image, s.caption) for s in plain]


def test_metadata_gives_captions_as_hugging_faces_image_folders(tmp_path: Path) -> None:
    make_pictures(tmp_path, 2)
    (tmp_path / "1.txt").unlink()
    line = {"file_name": "1.png", "text": "a bird"}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(line) + "\n")
    assert [s.caption for s in find_in({"folder": str(tmp_path)}).samples()][1] == "a bird"


def test_a_torn_shard_gives_what_is_whole_and_one_damaged_sample(
    folder: Path, tmp_path: Path
) -> None:
    pattern = as_shards(folder, tmp_path / "shards")
    path = tmp_path / "shards/001.tar"
    path.write_bytes(path.read_bytes()[:700])
    names = [s.name for s in find_in({"webdataset": pattern}).samples()]
    assert len(names) == 5 and names[4].startswith("001.tar")


def test_the_middle_is_cropped_and_its_place_told() -> None:
    """Against PIL's own fit; the six numbers are SDXL's size and crop conditions."""
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (50, 90, 3), dtype=np.uint8))
    stored = io.BytesIO()
    image.save(stored, "png")
    found = prepare(stored.getvalue(), "x", 50)
    expected = ImageOps.fit(image, (50, 50), method=Image.Resampling.LANCZOS)
    assert np.abs(found.pixels.astype(int) - np.asarray(expected).astype(int)).max() <= 1
    assert found.time_ids == (50, 90, 0, 20, 50, 50)
    assert prepare(stored.getvalue(), "x", 100).time_ids == (50, 90, 0, 40, 100, 100)


def test_latents_and_text_are_the_bases_own(folder: Path, sd15: Base, tmp_path: Path) -> None:
    found = load_pictures({"folder": str(folder)}, sd15, tmp_path)
    latents, captions, text = found.read([4, 0])
    pixels = prepare((folder / "4.png").read_bytes(), "x", 64).pixels
    expected = sd15.encode_images(pixels[None])
    torch.testing.assert_close(latents[:1], expected, rtol=2e-3, atol=2e-3)
    assert captions == [(folder / f"{i}.txt").read_text() for i in (4, 0)]
    assert isinstance(text, torch.Tensor)
    torch.testing.assert_close(text, sd15.encode_prompts(captions), rtol=2e-3, atol=2e-3)


def test_encoding_happens_once(
    folder: Path, sd15: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_pictures({"folder": str(folder), "n": 3}, sd15, tmp_path)
    monkeypatch.setattr(encoded, "prepare", None)
    assert len(load_pictures({"folder": str(folder), "n": 3}, sd15, tmp_path)) == 3


def test_sdxls_conditions_are_the_pipelines(sdxl: Base, sdxl_folder: Path) -> None:
    """Both encoders, pooled text, zeros for no prompt, and the six sizes, against diffusers."""
    pipe = StableDiffusionXLPipeline.from_pretrained(sdxl_folder, local_files_only=True)
    prompts = ["a red bird", "two boats on the water"]
    states, empty, pooled, empty_pooled = pipe.encode_prompt(prompts, device="cpu")
    found, none = sdxl.encode_prompts(prompts), sdxl.encode_empty()
    assert isinstance(found, SdxlText) and isinstance(none, SdxlText)
    torch.testing.assert_close(found.states, states)
    torch.testing.assert_close(found.pooled, pooled)
    torch.testing.assert_close(none.states.expand_as(empty), empty)
    torch.testing.assert_close(none.pooled.expand_as(empty_pooled), empty_pooled)
    ids = pipe._get_add_time_ids((64, 64), (0, 0), (64, 64), torch.float32, 16)
    torch.testing.assert_close(found.time_ids[:1], ids)


def test_parts_of_a_batch_are_the_batch(folder: Path, sdxl: Base, tmp_path: Path) -> None:
    data = PictureDataset(load_pictures({"folder": str(folder)}, sdxl, tmp_path))
    whole = data.samples(sdxl, 1, 4, 0, slice(0, 4))
    parts = [data.samples(sdxl, 1, 4, 0, s) for s in (slice(0, 2), slice(2, 4))]
    assert torch.equal(whole.x0, torch.cat([p.x0 for p in parts]))
    assert whole.captions == [c for p in parts for c in p.captions]
    assert isinstance(whole.text, SdxlText) and isinstance(parts[1].text, SdxlText)
    assert torch.equal(whole.text.time_ids[2:], parts[1].text.time_ids)
    assert {p.shape for p in parts} == {whole.x0.shape}


def test_damage_is_skipped_counted_and_named(
    sd15: Base, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_pictures(tmp_path / "set", 120)
    (tmp_path / "set/7.png").write_bytes(b"not a picture")
    cache = tmp_path / "cache"
    found = load_pictures({"folder": str(tmp_path / "set")}, sd15, cache)
    assert len(found) == 119
    assert json.loads((found.folder / "index.json").read_text())["damaged"] == 1
    log = found.folder / "damaged.log"
    assert log.read_text().startswith("7.png\tis a text; valid: a picture")
    said = capsys.readouterr().out
    assert "1 of 120 pictures are damaged" in said and str(log) in said


def test_too_much_damage_stops_the_run(sd15: Base, tmp_path: Path) -> None:
    make_pictures(tmp_path / "set", 8)
    (tmp_path / "set/7.png").write_bytes(b"")
    with pytest.raises(UsageError, match="1 of 8 pictures are damaged; valid: at most 1 %"):
        load_pictures({"folder": str(tmp_path / "set")}, sd15, tmp_path / "cache")


def test_pictures_without_captions_are_refused(sd15: Base, tmp_path: Path) -> None:
    make_pictures(tmp_path / "set", 3)
    for path in (tmp_path / "set").glob("*.txt"):
        path.unlink()
    with pytest.raises(UsageError, match=r"no captions; valid: NAME\.txt"):
        load_pictures({"folder": str(tmp_path / "set")}, sd15, tmp_path / "cache")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({}, "valid: one of folder, webdataset, dataset"),
        ({"folder": "no/where"}, "data.folder=no/where: no pictures"),
        ({"webdataset": "no/where/*.tar"}, "no such shards"),
        ({"folder": 3}, "data.folder=3: must be a text"),
        ({"folder": ".", "sise": 64}, "did you mean 'size'"),
    ],
)
def test_data_that_is_not_there_is_one_line(data: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        find_in(data)


def test_pictures_have_the_size_the_base_draws(folder: Path, sd15: Base, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="valid: 64, what the base draws"):
        load_pictures({"folder": str(folder), "size": 512}, sd15, tmp_path)


def test_pictures_are_turned_put_on_white_and_counted(
    sd15: Base, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_pictures(tmp_path / "set", 4)
    exif = Image.Exif()
    exif[0x112] = 6
    wide = Image.new("RGB", (96, 80), (200, 30, 30))
    wide.save(folder / "0.png", exif=exif)
    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(folder / "1.png")
    wide.save(folder / "9.gif")
    turned = prepare((folder / "0.png").read_bytes(), "x", 64)
    assert turned.time_ids[:2] == (96, 80)
    assert (prepare((folder / "1.png").read_bytes(), "x", 64).pixels == 255).all()
    load_pictures({"folder": str(folder)}, sd15, tmp_path / "cache")
    said = capsys.readouterr().out
    for line in (
        "1 of 4 pictures have transparent pixels: shown on white",
        "1 of 4 pictures are turned as their EXIF says",
        "1 pictures in other formats are left out: 9.gif",
    ):
        assert f"data.folder={folder}: {line}" in said


def test_captions_that_are_cut_and_pictures_that_are_enlarged_are_counted(
    sdxl: Base, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing else would tell: an encoder reads the first words, a picture is only less sharp."""
    folder = make_pictures(tmp_path / "set", 3)
    for i, caption in enumerate(("two large boats under a red sky", "a red bird", "a tree")):
        (folder / f"{i}.txt").write_text(caption)
    Image.new("RGB", (48, 200), (200, 30, 30)).save(folder / "1.png")
    load_pictures({"folder": str(folder)}, sdxl, tmp_path / "cache")
    said = capsys.readouterr().out
    assert "1 of 3 pictures have captions that a text encoder cuts, being too long for it" in said
    assert "1 of 3 pictures are smaller than 64 pixels, and are enlarged" in said
