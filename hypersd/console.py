"""The console of progress: a terminal, a file, or a notebook."""

from __future__ import annotations

from rich.console import Console


def console(*, stderr: bool = False, width: int | None = None) -> Console:
    """Standard output or error. In a notebook (which claims to be a terminal) plain lines are
    printed: a bar would need widgets.

    width: in columns, where it is no terminal.
    """
    plain = Console(stderr=stderr, soft_wrap=False)
    if plain.is_jupyter:
        return Console(stderr=stderr, width=width, force_jupyter=False, force_terminal=False)
    return plain if plain.is_terminal or width is None else Console(stderr=stderr, width=width)
