"""Whole command lines against a hub that is busy, gated, broken or changed: what helps is done; all
else is one line and exit code 2, nothing is lost, and the mended hub is taken."""

from __future__ import annotations

from pathlib import Path

from tests.real.commands import SMALL, Done, bench, contents, unplanned
from tests.real.hub_server import COMMIT, Fault, serving
from tests.real.official import SD15, Files

LINE = f"suite=sd15_quick steps=[1] {SMALL} metrics=[image_reward,pick] cache=cache out=run"
LCM, TCD = "latent-consistency/lcm-lora-sdv1-5", "h1t/TCD-SD15-LoRA"
HYPER_SD, PICK = "ByteDance/Hyper-SD", "yuvalkirstain/PickScore_v1"
REWARD, HPS = "THUDM/ImageReward", "xswu/HPSv2"
CHUNK = 10 * 2**20  # bytes that the hub's client keeps of what broke off
AT_ONCE = {"Retry-After": "0"}


def refused(done: Done, words: str) -> None:
    """One line says it, or a line of the plan, which one line counts."""
    assert done.code == 2, done.said
    (error,) = [line for line in done.errors.splitlines() if line.startswith("error:")]
    assert words in error or any(
        line.startswith("missing:") and words in line for line in done.said.splitlines()
    ), (error, done.said)
    assert "Traceback" not in done.errors


def test_what_passes_is_waited_for(tmp_path: Path, small_hub: dict[str, Files]) -> None:
    """Busy, out of order, slow and broken off, while it is planned and while files are fetched."""
    unet = f"{SD15}/resolve/{COMMIT}/unet/diffusion_pytorch_model.fp16.safetensors"
    faults = [
        Fault(f"GET api/models/{SD15}", 429, {"Retry-After": "1"}, times=2),
        Fault(f"HEAD {TCD}/resolve", 503),
        Fault(f"GET api/models/{LCM}", wait=11),
        Fault(f"GET elsewhere/{unet}", cut=50_000),
        Fault(f"GET elsewhere/{HYPER_SD}", 503),
        Fault(f"GET elsewhere/{HPS}", cut=12_000_000),
        Fault(f"GET {PICK}/resolve", 429, AT_ONCE),
    ]
    with serving(small_hub, faults=faults) as hub:
        (run,) = bench(tmp_path, hub, LINE.replace("image_reward", "hps"))
    assert run.code == 0 and not any(fault.times for fault in faults), run.errors
    assert f"hf://{SD15}: 429; asking again in 1 s" in run.errors
    assert f"hf://{LCM}: no answer yet; asking again in 1 s" in run.errors
    (first, rest) = [line for line in run.asked if f"GET elsewhere/{HPS}" in line]
    assert rest == f"{first} bytes={CHUNK}-"
    assert unplanned(tmp_path / "run") == []


def test_what_stays_is_said_and_nothing_is_lost(
    tmp_path: Path, small_hub: dict[str, Files]
) -> None:
    troubles = {
        "too many requests (429), also after waiting":
            Fault(f"GET api/models/{SD15}", 429, AT_ONCE, times=5),
        "no access (401): HF_TOKEN": Fault(f"HEAD {LCM}/resolve", 401),
        "no access (403): HF_TOKEN": Fault(f"HEAD {PICK}/resolve", 403),
        f"hf://{TCD}: no such repository":
            Fault(f"api/models/{TCD}", 404, {"X-Error-Code": "RepoNotFound"}),
        "the server failed (503); try again later":
            Fault(f"HEAD {HYPER_SD}/resolve", 503, AT_ONCE, times=5),
        f"hf://{REWARD}/ImageReward.pt: no access (403)": Fault(f"GET elsewhere/{REWARD}", 403),
    }  # fmt: skip
    for number, fault in enumerate(troubles.values()):
        fault.during = number
    with serving(small_hub, faults=list(troubles.values())) as hub:
        lines = [LINE] * len(troubles)
        *dones, full, run = bench(tmp_path, hub, *lines, f"full {LINE}", LINE)
    for done, words in zip(dones, troubles, strict=True):
        refused(done, words)
    refused(full, f"the disk is full at {tmp_path / 'home' / 'hub'}")
    assert run.code == 0, run.errors
    fetched = contents([line for done in [*dones, full, run] for line in done.asked])
    tries = {repo: count for (repo, _), count in fetched.items() if count > 1}
    assert tries == {REWARD: 2}


def test_a_changed_file_is_refused_until_the_hub_is_mended(
    tmp_path: Path, small_hub: dict[str, Files]
) -> None:
    """A contestant's and an evaluator's: each time, also by the command that was refused before."""
    lora, network = "pytorch_lora_weights.safetensors", "model.safetensors"
    changed = dict(small_hub)
    for repo, name in ((TCD, lora), (PICK, network)):
        other = bytes(reversed(small_hub[repo][name]))
        changed[repo] = small_hub[repo] | {name: other}
    with serving(small_hub) as hub:
        (run,) = bench(tmp_path, hub, LINE)
        assert run.code == 0, run.errors
    for path in (tmp_path / "home/hub").glob("models--*/snapshots/*/*"):
        if path.name in (lora, network) and ("TCD" in str(path) or "Pick" in str(path)):
            path.resolve().unlink()
            path.unlink()
    without = f"{LINE} ~contestants.tcd".replace("out=run", "out=other")
    with serving(changed) as hub:
        dones = bench(tmp_path, hub, LINE, LINE, without, without)
    for done, name in zip(dones, [f"{TCD}/{lora}"] * 2 + [f"{PICK}/{network}"] * 2, strict=True):
        refused(done, f"hf://{name}: its sha256 is")
    with serving(small_hub) as hub:
        again, other = bench(tmp_path, hub, LINE, without)
    assert again.code == other.code == 0, again.errors + other.errors
    assert "0 images to make" in again.said
