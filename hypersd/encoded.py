"""A data set of real pictures, encoded once: latents and text embeddings in shards on disk.

Neither the VAE nor a text encoder runs while a student is trained. A shard is one safetensors file
of SHARD samples; `index.json`, written last, says that all are there.
Legend: C, h, w a latent; L, D, P as in `hypersd.conditions`.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from hypersd import sources
from hypersd.base import Base
from hypersd.conditions import Text, of_tensors, tensors
from hypersd.errors import UsageError, listed
from hypersd.hashes import Hashes, digest
from hypersd.picture_files import SUFFIXES, VERSION
from hypersd.picture_reader import decode
from hypersd.sources import PictureSource, find, read_data
from hypersd.whole_files import written_whole

SHARD = 64
NUMBERS = ("", "_2", "_3")  # after the names of a pipeline's text encoders and tokenizers
DAMAGED = 0.01  # share of damaged pictures that stops the run
CUT = "have captions that a text encoder cuts, being too long for it"


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture, uint8 [S, S, 3], its caption, SDXL's six sizes and the reader's notes."""

    pixels: NDArray[np.uint8]
    caption: str
    time_ids: tuple[int, ...]
    notes: tuple[str, ...] = ()


@dataclass
class Reading:
    """The good pictures of a source; the others are counted, and named in a log.

    notes: how many of the good ones had to be converted, by what was done.
    """

    source: PictureSource
    size: int
    log: Path
    seen: int = 0
    damaged: int = 0
    untold: int = 0
    first: str = ""
    notes: Counter[str] = field(default_factory=Counter)

    def __iter__(self) -> Iterator[Picture]:
        self.log.write_text("", encoding="utf-8")
        for sample in self.source.samples():
            self.seen += 1
            why, found = sample.fault or "no caption", None
            if sample.caption:
                try:
                    found = prepare(sample.image, sample.caption, self.size)
                except UsageError as error:
                    why = str(error)
            else:
                self.untold += not sample.fault
            if found is not None:
                self.notes.update(found.notes)
                yield found
                continue
            self.damaged += 1
            self.first = self.first or f"{sample.name}: {why}"
            with self.log.open("a", encoding="utf-8", errors="backslashreplace") as log:
                log.write(f"{sample.name}\t{why}\n")
            if self.seen >= 100:
                self.check()
        self.check()

    def check(self) -> None:
        """Raise UsageError where more than 1 % of what was read is damaged."""
        if self.seen and self.untold == self.seen:
            raise UsageError(
                f"recipe, {self.source.where}: no captions; valid: NAME.txt beside a picture, "
                "metadata.jsonl or .csv, a column that data.caption names"
            )
        if self.damaged > DAMAGED * self.seen:
            raise UsageError(
                f"recipe, {self.source.where}: {self.damaged} of {self.seen} pictures are damaged; "
                f"valid: at most 1 %; named in {self.log}, the first of them {self.first}"
            )


def prepare(stored: bytes, caption: str, size: int) -> Picture:
    """Decode as a viewer shows it, resize the shorter side to `size` and crop the middle.

    time_ids are SDXL's (arXiv 2307.01952, Sec. 2.2): original height and width, top and left of
    the crop in the resized picture, height and width trained at.  Raises UsageError as `decode`.
    """
    decoded = decode(stored)
    image = decoded.image
    width, height = image.size
    scale = size / min(width, height)
    wide, high = max(size, round(width * scale)), max(size, round(height * scale))
    left, top = (wide - size) // 2, (high - size) // 2
    image = image.resize((wide, high), Image.Resampling.LANCZOS)
    pixels = np.asarray(image.crop((left, top, left + size, top + size)))
    enlarged = (f"are smaller than {size} pixels, and are enlarged",) if scale > 1 else ()
    notes = (*decoded.notes, *enlarged)
    return Picture(pixels, caption, (height, width, top, left, size, size), notes)


@dataclass(frozen=True, eq=False)
class EncodedPictures:
    """Shards of a folder, read as they are needed."""

    folder: Path
    count: int
    _open: dict[int, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.count

    def read(self, rows: list[int]) -> tuple[Tensor, list[str], Text]:
        """Latents [B, C, h, w] fp32, captions and text of some rows, on the CPU."""
        places = [divmod(row, SHARD) for row in rows]
        held = {*self._shard(places[0][0]).keys()}
        parts = {name: self._stacked(name, places) for name in held - {"latents"}}
        return self._stacked("latents", places), self.captions(rows), of_tensors(parts)

    def captions(self, rows: Iterable[int]) -> list[str]:
        """Captions of some rows."""
        places = (divmod(row, SHARD) for row in rows)
        return [json.loads(self._shard(i).metadata()["captions"])[j] for i, j in places]

    def _stacked(self, name: str, places: list[tuple[int, int]]) -> Tensor:
        return torch.stack([self._shard(i).get_slice(name)[j].float() for i, j in places])

    def _shard(self, number: int) -> Any:
        if number not in self._open:
            path = self.folder / f"{number:06d}.safetensors"
            self._open[number] = safe_open(path, framework="pt")
        return self._open[number]


def load_pictures(data: Mapping[str, Any], base: Base, cache: Path) -> EncodedPictures:
    """The pictures of a recipe's `data`, encoded by the base once and kept below `cache`.

    data: as `hypersd.sources.read_data` reads it.  Several processes wait for the first.
    Raises UsageError as the source does, for a bad size or n, or more than 1 % of damage.
    """
    given = read_data(data)
    source, size, n = find(given), given.size or base.pixels, given.n
    if size != base.pixels:
        raise UsageError(f"recipe, data.size={size}; valid: {base.pixels}, what the base draws")
    encoders = [f"{part}{number}" for part in ("text_encoder", "tokenizer") for number in NUMBERS]
    parts = base.sha256("vae", *encoders)
    cache.mkdir(parents=True, exist_ok=True)
    hashes = Hashes(cache.with_name("hashes.json"))
    stamp = sources.stamp(given, hashes)
    key = [parts, stamp, source.beside, size, n, str(base.network.dtype), VERSION]
    folder = cache / digest(key)[:16]
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "index.json").is_file():
            facts = _encode(source, size, n, base, folder)
            if sources.stamp(given, hashes) != stamp:
                raise UsageError(f"recipe, {source.where}: changed while it was read; start again")
            with written_whole(folder / "index.json") as beside:
                beside.write_text(json.dumps(facts) + "\n", encoding="utf-8")
    found = json.loads((folder / "index.json").read_bytes())
    return EncodedPictures(folder, found["count"])


def _encode(
    source: PictureSource, size: int, n: int | None, base: Base, folder: Path
) -> dict[str, int]:
    """Write the shards; how many samples they hold, and what was left out."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    reading = Reading(source, size, folder / "damaged.log")
    pictures, count = islice(reading, n), 0
    while shard := list(islice(pictures, SHARD)):
        _write(folder / f"{count // SHARD:06d}.safetensors", shard, base)
        count += len(shard)
        if cut := sum(base.family.truncated([p.caption for p in shard])):
            reading.notes[CUT] += cut
    reading.check()
    if not count:
        raise UsageError(f"recipe, {source.where}: no pictures")
    for line in _said(reading):
        print(f"{source.where}: {line}", flush=True)
    return {"count": count, "seen": reading.seen, "damaged": reading.damaged}


def _said(reading: Reading) -> Iterator[str]:
    """Notes on pictures that were left out or converted."""
    others, seen = reading.source.others, reading.seen
    if others:
        yield (f"{len(others)} pictures in other formats are left out: {listed(others)}; "
               f"valid: {', '.join(SUFFIXES)}")  # fmt: skip
    if reading.damaged:
        yield (f"{reading.damaged} of {seen} pictures are damaged or have no caption, left out; "
               f"named in {reading.log}")  # fmt: skip
    for note, count in sorted(reading.notes.items()):
        yield f"{count} of {seen} pictures {note}"


def _write(path: Path, shard: list[Picture], base: Base) -> None:
    """Encode one picture at a time (a large one needs much memory) and write the shard."""
    latents = [base.encode_images(p.pixels[None]).half().cpu() for p in shard]
    captions = [p.caption for p in shard]
    text = base.encode_prompts(captions, torch.tensor([p.time_ids for p in shard]))
    parts = {"latents": torch.cat(latents), **tensors(text)}
    kept = {
        name: (value if name == "time_ids" else value.half()).cpu().contiguous()
        for name, value in parts.items()
    }
    save_file(kept, path, metadata={"captions": json.dumps(captions)})
