"""How numbers are printed for people."""

from __future__ import annotations


def number(value: float, places: int) -> str:
    """A number with thousands separators and a true minus sign."""
    text = f"{value:,.{places}f}"
    return text.replace("-", "\u2212") if float(text.replace(",", "")) else text.lstrip("-")


def duration(seconds: float) -> str:
    """ "40 seconds", "3.5 hours": the largest unit of which there are two, minutes from one on."""
    units = (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0))
    unit = next((one for one in units if seconds >= 2 * one[1]), None)
    if unit is None and seconds >= 60:
        unit = units[-1]
    return f"{seconds / unit[1]:.1f} {unit[0]}" if unit else f"{max(1, round(seconds))} seconds"


def p_words(p: float) -> str:
    """ "0.0123", or "< 0.0001" below that."""
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"
