"""What this checkout gives now: identities, pictures, numbers.

The only file of these tests that knows where things lie in the code. It runs in a process of its
own, at one thread unless OMP_NUM_THREADS says otherwise, on the CPU, where nothing of the hub is
cached and nothing can be fetched:

    python tests/golden/current.py identities|pictures|numbers FOLDER
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORLD_METRICS = (
    "fid,fid_inf,fid_teacher,clip,aesthetic,hps,image_reward,pick,faithful,diversity,"
    "perceptual_teacher"
)
BESIDE = (  # further plans, beside each suite as it stands
    ("suite=shapes_1step", f"metrics=[{WORLD_METRICS}]"),
    ("suite=shapes_1step", "compile=true", "contestants.lcm.lora=shapes/tcd"),
    ("suite=shapes_1step", "contestants.lcm.size=128", "contestants.tcd.lora_scale=0.5"),
    ("suite=shapes_1step", "seeds=[0,1]", "prompts.n=100", "limit=10"),
)
TIMED = ("seconds_per_image", "seconds_alone", "peak_memory_bytes", "tried_batches")


def made(what: str, folder: Path) -> Path:
    """The folder that now holds identities, pictures or numbers, given one for temporary files.

    Raises RuntimeError where the code failed.
    """
    homes = {"HF_HOME": "hub", "XDG_CACHE_HOME": "xdg", "TORCH_HOME": "torch", "BENCH_DATA": "data"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    names = {
        "OMP_NUM_THREADS": "1",
        **kept,
        **{name: str(folder / place) for name, place in homes.items()},
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, str(HERE / "current.py"), what, str(folder)]
    done = subprocess.run(command, env=names, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return folder


def write_identities(folder: Path) -> None:
    """identities.json: of every shipped suite, as a run names them, and of every recipe."""
    from bench.suite import suite
    from hypersd import recipe

    words = [(f"suite={name}",) for name in suite.names()]
    hub = [(*one, "random_weights=true") for one in words if "shapes_" not in one[0]]
    plans = {" ".join(one): _planned(one, folder) for one in [*words, *hub, *BESIDE]}
    recipes = {name: recipe.load(name).identity for name in recipe.names()}
    _write(folder / "identities.json", {"plans": plans, "recipes": recipes})


def _planned(words: tuple[str, ...], folder: Path) -> dict[str, Any]:
    """The identities in a plan. Where a row has none without the hub: what weights it names."""
    plan = _plan(words, folder)
    return {
        "protocol": plan.protocol,
        "metrics": dict(plan.metrics),
        "extractors": dict(plan.extractors),
        "contestants": dict(plan.contestants),
        "parts": {one.row.name: _parts(one, plan, folder) for one in plan.rows},
    }


def _plan(words: tuple[str, ...], folder: Path) -> Any:
    from bench import cli
    from bench.run import plan

    command = cli.read([*words, "device=cpu", f"cache={folder / 'cache'}"])
    assert command.suite is not None
    return plan.make(command.suite, command.options)


def _parts(planned: Any, plan: Any, folder: Path) -> dict[str, str]:
    from bench.contestants import identity
    from hypersd.hashes import Hashes, digest

    if not planned.identity:
        given = planned.row.settings
        return {
            name: str(getattr(given, name)) for name in ("base", "source", "weights", "lora_scale")
        }
    parts = identity.parts(planned.row, plan.prompts, Hashes(folder / "cache" / "hashes.json"))
    named = parts if isinstance(parts, dict) else {str(i): part for i, part in enumerate(parts)}
    return {name: digest(part)[:16] for name, part in named.items()}


def write_pictures(folder: Path) -> None:
    """pictures/ROW.png: what a run draws of each row of pictures.yaml, side by side."""
    import numpy as np
    import torch
    from PIL import Image

    from bench.contestants import source
    from bench.contestants.pipelines import Networks

    (folder / "pictures").mkdir()
    networks = Networks(torch.device("cpu"))  # as in a run: for all rows
    plan = _plan((f"suite={HERE / 'pictures.yaml'}",), folder)
    for row in (planned.row for planned in plan.rows):
        draw = source.load(row, plan.prompts, plan.suite.size, None, networks)
        sheet = np.concatenate(list(draw(plan.keys).images), axis=1)
        Image.fromarray(sheet).save(folder / "pictures" / f"{row.name}.png", optimize=True)


def write_numbers(folder: Path) -> None:
    """numbers.json: result.json of a run of numbers.yaml, without what no two runs share."""
    from bench.cli import main

    words = (f"suite={HERE / 'numbers.yaml'}", "limit=100", "device=cpu")
    assert main([*words, f"out={folder / 'run'}", f"cache={folder / 'cache'}"]) == 0
    found = json.loads((folder / "run" / "result.json").read_text(encoding="utf-8"))
    _write(folder / "numbers.json", _named(found))


def _named(found: dict[str, Any]) -> dict[str, Any]:
    """What is compared of a result.json, each entry of its lists under a name."""
    rows = {one["name"]: one for one in found["contestants"]}
    return {
        "protocol": found["protocol"],
        "contestants": {
            name: {key: value for key, value in one.items() if key not in TIMED}
            for name, one in rows.items()
        },
        "comparisons": {
            f"{one['a']} - {one['b']}, {one['metric']}": one for one in found["comparisons"]
        },
        "claims": {one["text"]: one for one in found["claims"]},
        "sensitivity": found["sensitivity"],
    }


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write = {"identities": write_identities, "pictures": write_pictures, "numbers": write_numbers}
    write[sys.argv[1]](Path(sys.argv[2]))
