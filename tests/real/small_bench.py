"""`bench.py` with small CLIPs: `python -m tests.real.small_bench WORD ...`.

Without words it takes command lines from standard input and does one after the other, so that
Python and its libraries start once: before each it says so on both streams and asks the hub for
`mark/here`, after each it says the exit code. `expect WORDS` says what the plan of these words is;
`full WORDS` does them where no download has room.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import tempfile
from pathlib import Path
from unittest import mock
from urllib.error import HTTPError
from urllib.request import urlopen

from bench import cli
from bench.run import plan
from bench.suite.prompt_sets import PublishedPrompts
from hypersd import hub_client
from tests.real.hub_server import MARK

BETWEEN = "--- "
MEMORY = 80 * 10**9  # bytes
COCO = Path(os.environ.get("BENCH_DATA", ""), "prompts", "captions_source.tsv")  # six captions
OPEN_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 64, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}


def main() -> int:
    """The exit code of the one command line; 0 for those from standard input."""
    _register()
    small = PublishedPrompts((COCO.name,), n=6)
    sources = {"coco2014_5k": small} if COCO.is_file() else {}
    # A plan reckons with the networks that the official ids name.
    with (
        mock.patch("bench.run.hardware._memory", return_value=MEMORY),
        mock.patch.dict("bench.suite.prompt_sets.SOURCES", sources),
    ):
        return _commands()


def _commands() -> int:
    if words := sys.argv[1:]:
        return cli.main(words)
    for number, line in enumerate(sys.stdin):
        for stream in (sys.stdout, sys.stderr):
            print(f"{BETWEEN}{number}", file=stream, flush=True)
        with contextlib.suppress(HTTPError):
            urlopen(f"{os.environ['HF_ENDPOINT']}/{MARK}")
        for answers in (hub_client.listing, hub_client.ask_for):
            answers.cache_clear()
        verb, *rest = line.split()
        code = VERBS[verb](rest) if verb in VERBS else cli.main([verb, *rest])
        print(f"exit {code}", flush=True)
    return 0


def _expect(words: list[str]) -> int:
    command = cli.read(words)
    assert command.suite is not None
    found = plan.make(command.suite, command.options)
    wanted = found.downloads
    sizes = {str(one.reference): one.size for one in wanted.to_fetch}
    print(json.dumps({
        "bytes": sizes | {one.source: one.size for one in wanted.evaluators},
        "evaluations": {planned.row.name: planned.evaluations for planned in found.rows},
        "missing": found.missing,
    }))  # fmt: skip
    return 0


def _full(words: list[str]) -> int:
    no_room = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with mock.patch("huggingface_hub.file_download.http_get", side_effect=no_room):
        return cli.main(words)


def _register() -> None:
    """Make the CLIPs small that open_clip knows under the names of these metrics."""
    import open_clip

    with tempfile.TemporaryDirectory() as folder:
        for name in ("ViT-B-32", "ViT-L-14", "ViT-H-14"):
            (Path(folder) / f"{name}.json").write_text(json.dumps(OPEN_CLIP))
        open_clip.add_model_config(folder)


VERBS = {"expect": _expect, "full": _full}

if __name__ == "__main__":
    sys.exit(main())
