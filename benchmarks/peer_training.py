"""A training step of LCM and TSCD against diffusers' LCM-LoRA scripts, on the same UNet:
`python -m benchmarks.peer_training scripts=DIR [forms="one_copy;two_copies"] [methods="lcm;tscd"]
[batch=48] [steps=20] [rank=8] [precision=bf16] [device=cpu] [base=FOLDER] [out=FILE.json]`.

DIR is `examples/consistency_distillation` of a checkout of diffusers at a tag; its scripts run as
they are. Needs `pip install datasets` (one_copy: train_lcm_distill_lora_sdxl.py) and `pip install
"webdataset<0.2.96"` (two_copies: train_lcm_distill_lora_sd_wds.py, which stops with KeyError:
'fname' at later ones; https://github.com/webdataset/webdataset/issues/384).

Every row is a process of its own, one after the other: batch, adapters' rank, layers and precision,
pictures and length of text are the same. Seconds are the median from one optimizer step to the
next, by `benchmarks/step_probe.py`. Ours is shown twice: reading, decoding and encoding pictures
and texts in every step, as the scripts do; and with cached latents and texts, as it really runs.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from benchmarks.measure import Row, publish
from benchmarks.peer_models import make_model, make_pictures, make_shard
from benchmarks.step_probe import WARM
from hypersd.errors import UsageError, nearest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = {"one_copy": "train_lcm_distill_lora_sdxl.py",
           "two_copies": "train_lcm_distill_lora_sd_wds.py"}  # fmt: skip
ENCODED = {"one_copy": ("text",), "two_copies": ("vae", "text")}
"""What the scripts encode in the precision that they train in; the rest is in fp32."""
NEEDS = {"one_copy": "datasets", "two_copies": "webdataset<0.2.96"}
LAST: dict[str, Any] = {"segments": 1, "distance": 1.0}
METHODS: dict[str, tuple[str, dict[str, Any], list[dict[str, Any]]]] = {
    "lcm": ("lcm", {"distance": "huber"}, []),
    "tscd": ("tscd", {"distance": "mse", "target": "ema"}, [LAST]),
    "tscd, critic": ("tscd", {"distance": "mse", "target": "ema"}, [LAST | {"adversarial": 0.1}]),
}
WAYS = {"each_step": "encoding in every step", "once": "cached latents and texts"}
DEFAULTS: dict[str, Any] = {
    "scripts": "", "forms": "one_copy;two_copies", "methods": "lcm;tscd", "batch": 48, "steps": 20,
    "rank": 8, "precision": "bf16", "device": "cpu", "base": "",
    "out": "runs/benchmarks/peer_training.json",
}  # fmt: skip
TENSORS = ("unet_bytes", "gradient_bytes", "optimizer_bytes")
SIZES = (*TENSORS, "other_bytes", "peak_bytes")


@dataclass(frozen=True)
class Step(Row):
    """A row with what `step_probe` counted on both sides."""

    found: dict[str, Any] = field(default_factory=dict)
    peer_found: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Bench:
    """A place with the models and pictures, and the settings that all rows share."""

    place: Path
    given: dict[str, Any]

    def base(self, form: str) -> Path:
        """The model of a form, made where it is not there."""
        if self.given["base"]:
            return Path(self.given["base"])
        folder = self.place / form
        if not folder.exists():
            make_model(folder, sdxl=form == "one_copy")
        return folder

    def pictures(self) -> Path:
        """A folder of whole batches of pictures; the tar beside it holds the same."""
        folder = self.place / "pictures"
        if not folder.exists():
            make_pictures(folder, 8 * self.given["batch"])
            make_shard(folder, self.place / "pictures.tar")
        return folder

    @property
    def steps(self) -> int:
        """All steps, those that are not timed too."""
        return int(self.given["steps"]) + WARM


def peer(bench: Bench, form: str) -> dict[str, Any]:
    """The cost of diffusers' script."""
    given, pictures, base = bench.given, bench.pictures(), bench.base(form)
    words = {
        "pretrained_teacher_model": base, "output_dir": bench.place / f"{form}-peer",
        "resolution": pixels(base), "train_batch_size": given["batch"],
        "max_train_steps": bench.steps, "lora_rank": given["rank"], "lora_alpha": given["rank"],
        "mixed_precision": "no" if given["precision"] == "fp32" else given["precision"],
        "loss_type": "huber", "learning_rate": 1e-4, "lr_warmup_steps": 0, "seed": 0,
    }  # fmt: skip
    if form == "one_copy":
        words |= {"train_data_dir": pictures, "cache_dir": bench.place / "datasets"}
    else:  # without workers and a number of samples this script divides by zero
        words |= {"train_shards_path_or_url": bench.place / "pictures.tar",
                  "max_train_samples": 8 * given["batch"], "dataloader_num_workers": 1}  # fmt: skip
    line = [f"--{name}={value}" for name, value in words.items()]
    line += ["--cast_teacher_unet"] if form == "two_copies" else []
    return probed(bench, Path(given["scripts"]) / SCRIPTS[form], line)


def ours(bench: Bench, form: str, method: str, way: str) -> dict[str, Any]:
    """The cost of a recipe of this project, on the same model and pictures."""
    given, (kind, options, stages) = bench.given, METHODS[method]
    out = bench.place / f"{form}-{method}-{way}".replace(", ", "-")
    recipe = {
        "method": kind, "base": str(bench.base(form)), "steps": bench.steps, "lr": 1e-4,
        "batch": given["batch"], "precision": given["precision"],
        "base_precision": given["precision"], "data": {"folder": str(bench.pictures())},
        "options": {"guidance": 7.5, "points": 40, "rank": given["rank"]} | options,
        "stages": [stage | {"steps": bench.steps} for stage in stages],
        "prompts": ["a red circle"], "checkpoint_every": 10**6,
    }  # fmt: skip
    path = out.with_suffix(".yaml")
    path.write_text(json.dumps(recipe), encoding="utf-8")
    words = [str(path), str(out), way, f"device={given['device']}"]
    words += [f"{part}={given['precision']}" for part in ENCODED[form]]
    return probed(bench, ROOT / "benchmarks/own_training.py", words)


def probed(bench: Bench, script: Path, words: list[str]) -> dict[str, Any]:
    """Run a script under the probe, in a process of its own."""
    path = bench.place / "found.json"
    path.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.step_probe", str(path), str(script), *words]
    more = {"HF_HUB_OFFLINE": "1", "HYPERSD_CACHE": str(bench.place / "cache")}
    if bench.given["device"] == "cpu":
        more["CUDA_VISIBLE_DEVICES"] = ""
    log = bench.place / "log.txt"
    with log.open("w", encoding="utf-8") as out:
        done = subprocess.run(command, cwd=ROOT, env=os.environ | more, stdout=out, stderr=out)
    found = json.loads(path.read_bytes()) if path.is_file() else {"seconds": []}
    why = reason(log.read_text(errors="replace", encoding="utf-8")) if done.returncode else None
    if len(found["seconds"]) < bench.given["steps"]:
        raise UsageError(f"{script.name} ended after {len(found['seconds'])} timed steps: {why}")
    print(f"{script.name}: {statistics.median(found['seconds']):.3f} s", flush=True)
    return found | {"failed_later": why}


def reason(log: str) -> str:
    """The last error that a script's output names, else its last line."""
    errors = re.findall(
        r"^(?:error: .*|[\w.]+(?:Error|Exception|Interrupt)\b.*)$", log, re.MULTILINE
    )
    return str(([*log.split("\n"), *errors])[-1].strip() or "no output")


def pixels(base: Path) -> int:
    """The side of the pictures that a model folder is made for."""
    side = json.loads((base / "unet/config.json").read_bytes())["sample_size"]
    blocks = json.loads((base / "vae/config.json").read_bytes())["block_out_channels"]
    return int(side * 2 ** (len(blocks) - 1))


def rows(bench: Bench, form: str, methods: list[str]) -> list[Step]:
    """The script once, then ours."""
    theirs = peer(bench, form)
    found = []
    for method in methods:
        for way, words in WAYS.items():
            mine = ours(bench, form, method, way)
            times = [statistics.median(f["seconds"]) for f in (mine, theirs)]
            mib = [sum(f[key] for key in TENSORS) / 2**20 for f in (mine, theirs)]
            note = f"tensors {mib[0]:.1f} MiB against {mib[1]:.1f}"
            if mine["trained"] != theirs["trained"]:
                note += f"; trains {mine['trained']:,} parameters, they {theirs['trained']:,}"
            if theirs["failed_later"]:
                note += f"; the script failed after its last step: {theirs['failed_later']}"
            what = f"{form}: {method}, {words}"
            found.append(Step(what, times[0], version(bench, form), times[1], note, mine, theirs))
    return found


def version(bench: Bench, form: str) -> str:
    """The script, the least diffusers that it asks for, and its digest."""
    text = (Path(bench.given["scripts"]) / SCRIPTS[form]).read_text(encoding="utf-8")
    least = re.search(r'check_min_version\("([^"]+)"\)', text)
    digest = sha256(text.encode()).hexdigest()[:12]
    return f"{SCRIPTS[form]} ({least[1] if least else 'no version'}, {digest})"


def sizes(found: list[Step]) -> str:
    """The table of what stays in memory, the peers' rows too."""
    head = ("MiB of", "UNet weights", "gradients", "optimizer", "VAE, text", "peak", "UNets")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    named = {f"peer: {row.peer}": row.peer_found for row in found}
    named |= {row.what: row.found for row in found}
    for name, one in named.items():
        cells = [f"{one[key] / 2**20:.1f}" for key in SIZES]
        lines.append(f"| {name} | {' | '.join(cells)} | {one['unets']:.2f} |")
    return "\n".join(lines)


def settings(arguments: list[str]) -> dict[str, Any]:
    """The words of the command line, checked. Raises UsageError."""
    given = dict(DEFAULTS)
    for word in arguments:
        key, _, value = word.partition("=")
        if key not in DEFAULTS:
            raise UsageError(f"{word!r}: {nearest(key, DEFAULTS)}")
        whole = isinstance(DEFAULTS[key], int)
        if whole and not (value.isdigit() and int(value)):
            raise UsageError(f"{key}={value!r}; valid: a whole number from 1")
        given[key] = int(value) if whole else value
    for key, valid in (("forms", SCRIPTS), ("methods", METHODS)):
        given[key] = given[key].split(";")
        for name in given[key]:
            if name not in valid:
                raise UsageError(f"{key}: no {name!r}; {nearest(name, valid)}")
    if given["precision"] not in ("bf16", "fp32"):
        raise UsageError(f"precision={given['precision']!r}; valid: bf16, fp32")
    return given


def check(scripts: str, form: str) -> None:
    """Raise UsageError where the script or the package that it reads data with is missing."""
    if not (Path(scripts) / SCRIPTS[form]).is_file():
        raise UsageError(f"scripts={scripts!r} holds no {SCRIPTS[form]}; valid: "
                         "examples/consistency_distillation of diffusers")  # fmt: skip
    needed = Requirement(NEEDS[form])
    try:
        fits = needed.specifier.contains(installed(needed.name))
    except PackageNotFoundError:
        fits = False
    if not fits:
        raise UsageError(f"{SCRIPTS[form]} needs: pip install '{needed}'")


def main(arguments: list[str]) -> int:
    """Measure, print, write; 2 where the user must change something."""
    try:
        given = settings(arguments)
        for form in given["forms"]:
            check(given["scripts"], form)
        with tempfile.TemporaryDirectory() as place:
            bench = Bench(Path(place), given)
            found = [row for form in given["forms"] for row in rows(bench, form, given["methods"])]
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    publish("peer_training", found, Path(given["out"]))
    print(f"\n{sizes(found)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
