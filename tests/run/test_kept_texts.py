"""The texts' side of metrics: what a network said of texts is read from the cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.metrics.cosine import CosineScore
from bench.run.cache import Cache
from bench.run.kept_texts import KIND, with_kept_texts

PROMPTS = [f"{number} red balls" for number in range(300)]
CLUSTERS = list(range(300))
FEATURES = np.ones((300, 4), np.float32) / 2


class Counted:
    """A network that counts the texts it reads, and cuts those longer than `most`."""

    def __init__(self, most: int = 11) -> None:
        self.read, self.most = 0, most

    def encode(self, texts: list[str]) -> np.ndarray:
        self.read += len(texts)
        rng = np.random.default_rng([ord(letter) for letter in texts[0]])
        found = rng.normal(size=(len(texts), 4)).astype(np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def cut(self, texts: list[str]) -> list[bool]:
        self.read += len(texts)
        return [len(text) > self.most for text in texts]

    def score(self, cache: Cache, network: str = "net/1", prefix: str = "") -> CosineScore:
        metric = CosineScore("clip", network, "net", self.encode, prefix=prefix, too_long=self.cut)
        found = with_kept_texts(metric, cache)
        assert isinstance(found, CosineScore) and found.identity == metric.identity
        return found


def values(metric: CosineScore) -> list[float]:
    found = metric.evaluate(FEATURES, PROMPTS, CLUSTERS)
    return [found.value, found.low, found.high]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path)


def test_a_network_reads_a_text_once_for_all_runs(cache: Cache) -> None:
    first, again = Counted(), Counted()
    found = values(first.score(cache))
    cut = first.score(cache).truncated(PROMPTS)
    assert found == values(CosineScore("clip", "net/1", "net", Counted().encode))
    metric = again.score(cache)
    assert values(metric) == found
    assert metric.truncated(PROMPTS) == cut == [len(text) > 11 for text in PROMPTS]
    assert (first.read, again.read) == (600, 0)


@pytest.mark.parametrize("other", [{"network": "net/2"}, {"prefix": "a photo of "}])
def test_another_network_or_prefix_reads_them_anew(cache: Cache, other: dict[str, str]) -> None:
    values(Counted().score(cache))
    anew = Counted()
    values(anew.score(cache, **other))
    assert anew.read == 300


def test_a_damaged_entry_is_named_and_made_again(cache: Cache) -> None:
    found = values(Counted().score(cache))
    for path in (cache.root / KIND).rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    assert values(Counted().score(cache)) == found
    assert len(cache.damaged) == 2 and all("made again" in line for line in cache.damaged)
