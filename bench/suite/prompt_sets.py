"""Published prompt sets by name: where their files are, and which texts they must hold.

Only `own` and `skills` are shipped. The others are looked for in a folder of the user's under their
publisher's file name, and fetched there once. A set with a known hash is refused if its texts
differ; the texts' hash is part of a result's protocol in any case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.errors import UsageError
from hypersd import hub_client
from hypersd.package_data import packaged
from hypersd.whole_files import written_whole

SHIPPED = packaged("bench", "suites") / "prompts"
_RAW = "https://raw.githubusercontent.com"
_MLPERF = f"{_RAW}/mlcommons/inference/c78a252610a3453e54ceed58bf0e59f1a61fe4f9/text_to_image"
_HPD = "dataset:zhwang/HPDv2/benchmark"
DATASET = "dataset:"  # of a file in a data set on the hub
Fetch = Callable[[str], bytes]


@dataclass(frozen=True)
class PublishedPrompts:
    """A prompt set: its files in order, where each is fetched (nowhere: a user has to put it
    there), licence, number of prompts, and the hash of its texts as `PromptSet.revision` gives it.

    how: to get it, where it cannot be fetched.  quoted: as `prompt_files.read` takes it.
    """

    files: tuple[str, ...]
    places: tuple[str, ...] = ()
    licence: str = "unknown"
    n: int | None = None
    revision: str | None = None
    how: str = ""
    quoted: bool = True


SOURCES = {
    "own": PublishedPrompts(("own.tsv",), licence="Apache-2.0", n=200),
    "skills": PublishedPrompts(("skills.txt",), licence="Apache-2.0", n=200),
    "coco2014_5k": PublishedPrompts(
        ("captions_source.tsv",),
        (f"{_MLPERF}/coco2014/captions/captions_source.tsv",),
        "CC-BY-4.0 (COCO Consortium)",
        5000,
        "7a70c1a8351e5b07",
    ),
    "coco2017_5k": PublishedPrompts(
        ("captions_val2017.json",),
        licence="CC-BY-4.0 (COCO Consortium)",
        n=5000,
        how="take annotations/captions_val2017.json out of annotations_trainval2017.zip "
        "(https://cocodataset.org/#download)",
    ),
    "dmd2_coco10k": PublishedPrompts(
        ("dmd2_coco10k.txt",),
        n=10_000,
        how="write the captions of DMD2's coco10k/all_prompts.pkl, one a line",
    ),
    "parti": PublishedPrompts(
        ("PartiPrompts.tsv",),
        (
            f"{_RAW}/google-research/parti/5a657978134374ce28973948331b319adef164bd/PartiPrompts.tsv",
        ),
        "Apache-2.0",
        1632,
        "f6f70c68ccd70740",
        quoted=False,
    ),
    "geneval": PublishedPrompts(
        ("evaluation_metadata.jsonl",),
        (
            f"{_RAW}/djghosh13/geneval/af4902f24d3ca90ebbb446dd9891a59e0f82725f/prompts/"
            "evaluation_metadata.jsonl",
        ),
        "MIT",
        553,
        "4de60dfc3c29f9d3",
    ),
    "hpdv2": PublishedPrompts(
        ("anime.json", "concept-art.json", "paintings.json", "photo.json"),
        tuple(f"{_HPD}/{s}.json" for s in ("anime", "concept-art", "paintings", "photo")),
        n=3200,
    ),
    "drawbench": PublishedPrompts(("drawbench.json",), (f"{_HPD}/drawbench.json",), n=200),
}


def fetched(place: str) -> bytes:
    """The content of a file of the hub or the web."""
    if not place.startswith(DATASET):
        return hub_client.read_address(place)
    from huggingface_hub import hf_hub_download

    owner, repo, path = place.removeprefix(DATASET).split("/", 2)
    fetch = partial(hf_hub_download, f"{owner}/{repo}", path, repo_type="dataset")
    return Path(hub_client.patiently(place, fetch)).read_bytes()


def files(name: str, folder: Path, fetch: Fetch = fetched) -> list[Path]:
    """The files of a named set, fetched into `folder` where they are not here yet.

    Raises UsageError for what cannot be fetched.
    """
    source = SOURCES[name]
    return [_file(name, source, number, folder, fetch) for number in range(len(source.files))]


def _file(name: str, source: PublishedPrompts, number: int, folder: Path, fetch: Fetch) -> Path:
    shipped, kept = SHIPPED / source.files[number], folder / source.files[number]
    for path in (shipped, kept):
        if path.is_file():
            return path
    if not source.places:
        raise UsageError(f"prompts.set={name}: put {kept} there; {source.how}")
    place = source.places[number]
    if hub_client.offline():
        raise UsageError(f"prompts.set={name}: {kept} is not there, and HF_HUB_OFFLINE is set")
    try:
        content = fetch(place)
        kept.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(kept) as beside:
            beside.write_bytes(content)
    except Exception as error:  # network libraries raise many kinds
        words = " ".join(str(error).split())[:120] or type(error).__name__
        where = place.removeprefix(DATASET)
        raise UsageError(
            f"prompts.set={name}: {where} cannot be fetched ({words}); or put {kept} there"
        ) from None
    return kept
