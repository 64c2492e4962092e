"""A small tokenizer of Qwen's kind, of bytes, that every version of tokenizers can make."""

from __future__ import annotations

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
         "<|image_pad|>", "<|video_pad|>"]  # fmt: skip


def tokenizer() -> Tokenizer:
    """Bytes, the answers as tokens of their own, and Qwen's marks."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    merges = [("Y", "e"), ("Ye", "s"), ("N", "o")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(mark, special=True) for mark in MARKS])
    return made


def marks() -> dict[str, int]:
    """The ids that a configuration names."""
    words = tokenizer()
    named = {"vision_start": MARKS[3], "vision_end": MARKS[4], "image": MARKS[5], "video": MARKS[6]}
    return {f"{name}_token_id": words.token_to_id(mark) for name, mark in named.items()}
