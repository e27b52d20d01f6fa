"""How the page writes numbers with their errors, settings, confidence and proof."""

import math
from collections.abc import Mapping, Sequence

from unstuck.page.parts import entries

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
UNKNOWN = "—"
LONGEST_LIST = 8  # entries of a list that are written out

# The words of the IPCC's Fourth Assessment Report for a number (guidance notes, July 2005): very high is
# at least 9 in 10, high about 8, medium about 5, low about 2, very low less than 1. Halfway between two
# neighbours the word changes.
CONFIDENCE_WORDS = ((0.9, "very high"), (0.65, "high"), (0.35, "medium"), (0.1, "low"), (0.0, "very low"))

PROOF_WORDS = {
    "proved": "The remedy made for this cause worked; and, as far as each applies, more of it worked more, the "
    "suspected quantity moved before the loss did, and planting the fault again brought it back.",
    "likely": "What was measured and what was tried agree; the full proof was not made.",
    "works-unproved": "The remedy works; that this cause is the reason has not been shown.",
    "unknown": "The evidence does not decide.",
}

EXACT = 1e-5
"""Relative error below which not every digit that is known is worth reading."""

CHAPTERS = {
    1: "critical points",
    2: "batch and momentum",
    3: "learning rate",
    4: "loss",
    5: "normalization",
}


def number(value: object) -> str:
    """A number as a person reads it: four digits, thousands set apart, powers of ten for the extremes."""
    match value:
        case None:
            return UNKNOWN
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}".replace("-", "−")
        case float() if not math.isfinite(value):
            return "not finite"
        case float():
            return _decimal(value, digits=4)
        case Mapping():
            return settings(value)
        case Sequence() if not isinstance(value, str):
            shown = ", ".join(map(number, value[:LONGEST_LIST]))
            return shown if len(value) <= LONGEST_LIST else f"{shown}, … ({len(value)} in all)"
    return str(value)


def measured(entry: object) -> str:
    """A value of the report with its error: `12.31 ± 0.04`, `0.87 (0.85 to 0.89)` for an interval, or `at least 40`."""
    if not isinstance(entry, Mapping):
        return number(entry)
    value, error = entry.get("value"), entry.get("error")
    if value is None:
        match error:
            case [int() | float() as low, None]:
                return f"at least {number(low)}"
        return "not finite" if entry.get("non_finite") else UNKNOWN
    match value, error:
        case int() | float(), int() | float() if 0 < error < EXACT * abs(value):
            return f"{number(float(value))} ± {_decimal(error, digits=2)}"
        case int() | float(), int() | float() if 0 < error < math.inf:
            (middle, spread), power = _rounded((value, error), error)
            return f"({middle} ± {spread}){power}" if power else f"{middle} ± {spread}"
        case int() | float(), [int() | float() as low, int() | float() as high] if low < high:
            (middle, low_end, high_end), power = _rounded((value, low, high), (high - low) / 2)
            return f"{middle} ({low_end} to {high_end}){power}"
        case int() | float(), [int() | float() as low, None]:
            return f"{number(value)} (at least {number(low)})"
    return number(value)


def interval(ends: object) -> str:
    """An interval as `1.62 to 2.03`, to the second digit of its half-width."""
    match ends:
        case [int() | float() as low, int() | float() as high] if low < high:
            (low_end, high_end), power = _rounded((low, high), (high - low) / 2)
            return f"{low_end} to {high_end}{power}"
    return number(ends)


def sentence(text: object) -> str:
    """A text that starts with a capital."""
    return str(text)[:1].upper() + str(text)[1:]


def settings(values: object) -> str:
    """Settings as `factor = 0.1, schedule = cosine`."""
    return ", ".join(f"{key} = {number(value)}" for key, value in entries(values).items())


def percent(fraction: object) -> str:
    """A fraction as `94 %`."""
    return f"{_decimal(100 * fraction, digits=2)} %" if isinstance(fraction, int | float) else UNKNOWN


def spaced(name: object) -> str:
    """A key of the JSON as words: `gradient_evaluations` is `gradient evaluations`."""
    return str(name).replace("_", " ")


def confidence(value: object) -> str:
    """The word for a confidence between 0 and 1."""
    if not isinstance(value, int | float):
        return "not stated"
    return next(word for bound, word in CONFIDENCE_WORDS if value >= bound or bound == 0)


def amount(kind: str, spent: object) -> str:
    """An amount of one kind of cost; seconds are a duration, all else is counted."""
    return duration(spent) if kind == "seconds" else number(spent)


def cost(spent: object) -> str:
    """A cost as `40 gradient evaluations, 1.2 s`, without what was not spent."""
    parts = [
        amount(kind, part) if kind == "seconds" else f"{amount(kind, part)} {_counted(kind, part)}"
        for kind, part in entries(spent).items()
        if part
    ]
    return ", ".join(parts) or UNKNOWN


def _counted(kind: str, count: object) -> str:
    return spaced(kind).removesuffix("s") if count == 1 else spaced(kind)


def duration(seconds: object) -> str:
    """Seconds as `97 s`, `12 min` or `3.2 h`."""
    if not isinstance(seconds, int | float):
        return UNKNOWN
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{_decimal(seconds / length, digits=2)} {unit}"
    return f"{_decimal(float(seconds), digits=2)} s"


def _exponent(value: float) -> int:
    return math.floor(math.log10(abs(value))) if value else 0


def _power_of_ten(exponent: int) -> str:
    return "10" + str(exponent).translate(SUPERSCRIPTS)


def _is_extreme(exponent: int) -> bool:
    return not -4 < exponent < 6  # written with a power of ten: 0.00099 and below, a million and above


def _decimal(value: float, *, digits: int) -> str:
    value = float(f"{value:.{digits}g}")  # 9.9996 has the exponent of 10
    exponent = _exponent(value)
    if _is_extreme(exponent):
        mantissa = f"{value / 10.0**exponent:.{digits - 1}f}".rstrip("0").rstrip(".")
        return f"{mantissa} × {_power_of_ten(exponent)}".replace("-", "−")
    text = f"{value:,.{max(0, digits - 1 - exponent)}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")


def _rounded(values: Sequence[float], error: float) -> tuple[list[str], str]:
    """The values to the second digit of the error, under one power of ten if they need one."""
    exponent = _exponent(max(map(abs, (*values, error))))
    scale = exponent if _is_extreme(exponent) else 0
    decimals = max(0, 1 - _exponent(error) + scale)
    texts = [f"{round(value / 10.0**scale, decimals) + 0.0:,.{decimals}f}".replace("-", "−") for value in values]
    return texts, f" × {_power_of_ten(scale)}" if scale else ""
