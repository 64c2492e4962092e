"""`python -m hypersd recipe=NAME|FILE out=DIR [key=value ...]`: train one model."""

from __future__ import annotations

import sys
from pathlib import Path

from hypersd.command_line import CONSOLE, print_anything, started_as, version_words
from hypersd.errors import UsageError, exit_code


def main(arguments: list[str] | None = None) -> int:
    """Train; 0 when done, 2 for what the user must change."""
    words = sys.argv[1:] if arguments is None else arguments
    print_anything()
    if "--version" in words:
        print(version_words(CONSOLE))
        return 0
    try:
        return exit_code(lambda: _train(words))
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130


def _usage() -> str:
    called = started_as("hypersd", CONSOLE) or "python -m hypersd"
    return (f"usage: {called} recipe=NAME|FILE.yaml [out=DIR] [device=cpu] "
            "[resume=auto|never] [key=value ...]")  # fmt: skip


def _train(arguments: list[str]) -> int:
    from hypersd import recipe as recipes
    from hypersd.plain_yaml import value

    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage() + "\nrecipes: " + ", ".join(recipes.names()))
        return 0 if arguments else 2
    pairs = dict(argument.partition("=")[::2] for argument in arguments)
    if "" in pairs.values() or "recipe" not in pairs:
        raise UsageError(_usage())
    name, device = pairs.pop("recipe"), pairs.pop("device", "cpu")
    resume = pairs.pop("resume", "auto")
    out = Path(pairs.pop("out", f"runs/train/{Path(name).stem}"))
    recipe = recipes.load(name, {key: value(text, key) for key, text in pairs.items()})
    import torch

    from hypersd.loop import train

    print(f"{recipe.name}: {recipe.steps} steps of {recipe.batch} in {out}")
    print(f"weights and model card: {train(recipe, out, device=device, resume=resume)}")
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
