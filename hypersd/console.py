"""Where progress is shown: a terminal, a file, or a notebook."""

from __future__ import annotations

from rich.console import Console


def console(*, stderr: bool = False, width: int | None = None) -> Console:
    """Standard output or error. In a notebook, which says that it is a terminal, plain lines: a bar
    would want widgets there.

    width: in columns, where it is no terminal.
    """
    plain = Console(stderr=stderr, soft_wrap=False)
    if plain.is_jupyter:
        return Console(stderr=stderr, width=width, force_jupyter=False, force_terminal=False)
    return plain if plain.is_terminal or width is None else Console(stderr=stderr, width=width)
