"""Token ids are part of the weights: every build of the tokenizer gives the same ones."""

from __future__ import annotations

from pathlib import Path

from hypersd.shapes.teacher import END, START, build_tokenizer


def test_two_builds_agree(tmp_path: Path) -> None:
    first, second = (build_tokenizer(tmp_path / name) for name in ("a", "b"))
    assert first.get_vocab() == second.get_vocab()
    assert (first.bos_token_id, first.eos_token_id) == (0, 1)
    merges = [(tmp_path / name / "merges.txt").read_bytes() for name in ("a", "b")]
    assert merges[0] == merges[1]
    said = "a red star left of a large ring, on stripes"
    assert first.decode(first(said).input_ids, skip_special_tokens=True).strip() == said.replace(
        ",", " ,"
    )
    assert first.convert_ids_to_tokens([0, 1]) == [START, END]
