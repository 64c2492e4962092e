"""Recognises a file by its first bytes where it is not what its name says: a git-lfs pointer, a web
page, weights under another suffix. Libraries only report that such a file is invalid."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import NamedTuple

BEGINNING = 1024  # bytes that tell


class Kind(NamedTuple):
    """words: with an article.  valid: what there should be in its place, where one can say.
    suffix: of weights, where another name may be all that is wrong."""

    words: str
    valid: str = ""
    suffix: str = ""


SAFETENSORS = Kind("a safetensors file", suffix=".safetensors")
PICKLE = Kind("a PyTorch file", suffix=".bin, .pt, .pth or .ckpt")
NUMPY = Kind("a file of NumPy's (.npz)")
PICTURE = Kind("a picture")
TAR = Kind("a tar file")
TEXT = Kind("a text")
JSON = Kind("a JSON text")
ZIP = Kind("a zip archive")
GZIP = Kind("packed by gzip", "the file itself, unpacked")
SPREADSHEET = Kind("a spreadsheet", "its table saved as CSV in UTF-8")

_SIGNS = {  # how a file begins
    r"version https://git-lfs": Kind("a pointer of git-lfs", "the file itself, by `git lfs pull`"),
    r"(?i:\s*<(!doctype html|html[\s>]|\?xml))": Kind("a web page", "the file that it leads to"),
    r"\s*[{\[]": JSON,
    r".{7}\0\{": SAFETENSORS,
    r"\x80[\x02-\x05]": PICKLE,
    r"PK\x03\x04": ZIP,
    r"\x89PNG|\xff\xd8\xff|GIF8|RIFF.{4}WEBP|BM.{4}\0{4}|II\*\0|MM\0\*|\0{3}.ftyp": PICTURE,
    r".{257}ustar": TAR,
    r"\x1f\x8b": GZIP,
    r"\xd0\xcf\x11\xe0": SPREADSHEET,
    r"7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd": Kind("an archive", "the file itself, unpacked"),
    r"GGUF": Kind("a GGUF file"),
    r"\x89HDF": Kind("an HDF5 file"),
    r"PAR1": Kind("a Parquet file"),
    r"%PDF": Kind("a PDF"),
    r"[\t\n\r -~]{8}": TEXT,
}
_ALSO = {TAR: (GZIP,), TEXT: (JSON,)}
"""What else is right where a kind is wanted."""


def of_weights(path: Path) -> Kind:
    """The kind that a weights file should have, by its suffix."""
    return SAFETENSORS if path.suffix == ".safetensors" else PICKLE


def fault(path: Path, wanted: Kind, why: str = "is damaged") -> str:
    """The fault of a file that cannot be read as the wanted kind, and what would be valid.

    It names the real kind if the first bytes show it, else `why`.
    """
    return mistaken(path, wanted) or f"{why}; valid: {wanted.words}, whole"


def mistaken(path: Path, wanted: Kind) -> str | None:
    """The real kind of a file that is not the wanted one; None if its first bytes do not show
    it."""
    try:
        with path.open("rb") as file:
            beginning = file.read(BEGINNING)
        return instead(beginning, wanted, _in_zip(path, beginning))
    except OSError:
        return None


def instead(beginning: bytes, wanted: Kind, zipped: Kind = ZIP) -> str | None:
    """The same for the first bytes of a file. zipped: the kind of a zip archive."""
    if not beginning:
        return f"is empty; valid: {wanted.words}"
    if len(beginning) == BEGINNING and not beginning.strip(b"\0"):
        return f"begins with nothing but zeros; valid: {wanted.words}, fetched again"
    text = beginning.decode("latin-1")
    kind = next((kind for sign, kind in _SIGNS.items() if re.match(sign, text, re.S)), wanted)
    kind = zipped if kind is ZIP else kind
    if kind in (wanted, *_ALSO.get(wanted, ())):
        return None
    renamed = kind.suffix and wanted.suffix
    valid = f"it under a name that ends in {kind.suffix}" if renamed else kind.valid or wanted.words
    return f"is {kind.words}; valid: {valid}"


def _in_zip(path: Path, beginning: bytes) -> Kind:
    """PyTorch and NumPy write zip archives, too."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:  # cut off: the list of names is at its end
        return PICKLE if b"data.pkl" in beginning else ZIP
    if any(name.endswith("data.pkl") for name in names):
        return PICKLE
    if "xl/workbook.xml" in names:
        return SPREADSHEET
    return NUMPY if names and all(name.endswith(".npy") for name in names) else ZIP
