"""Silence for libraries that talk while they load."""

from __future__ import annotations


def quiet() -> None:
    """No bars and hints of libraries between ours; what matters is checked here and raised."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    for logging in (of_diffusers, of_transformers):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
