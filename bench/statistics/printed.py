"""How numbers are printed for people."""

from __future__ import annotations


def number(value: float, places: int) -> str:
    """A number with thousands separators and a true minus sign."""
    text = f"{value:,.{places}f}"
    return text.replace("-", "\u2212") if float(text.replace(",", "")) else text.lstrip("-")


def p_words(p: float) -> str:
    """ "0.0123", or "< 0.0001" below that."""
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"
