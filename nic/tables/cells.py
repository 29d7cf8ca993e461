"""Cells of a table: blanks, numbers, and the words that mean a missing value."""

import math
import re
from typing import Literal

MISSING = frozenset(
    {
        *("", "na", "n/a", "n.a.", "nan", "<na>", "nat", "null", "#n/a", ".", "?", "--", "'--"),
        *("missing", "unknown", "not available", "not reported"),
        *("[not available]", "[not applicable]", "[not evaluated]", "[unknown]", "[discrepancy]", "[pending]"),
    }
)
"""Words for a missing value, in small letters, as R, pandas, Excel, TCGA and GDC write them.

A single "-" is not among them: beside "+" it is a class. Neither is "none": a finding may be absent.
"""
SPREADSHEET_ERROR = re.compile(r"#(?:REF|VALUE|DIV/0|NUM|NULL|SPILL|CALC)!|#NAME\?")
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?", re.ASCII)
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+", re.ASCII)
LEAST_NUMBERS = 0.8
"""Share of a column's known cells that are numbers, in a column of numbers."""
Decimal = Literal["comma", "point"]
_BLANK = r"[\s\u200b-\u200d\u2060\ufeff]+"
_BLANK_ENDS = re.compile(f"^{_BLANK}|{_BLANK}$")


def stripped(text: str) -> str:
    """The text without blanks at both ends, also without those of no width."""
    return text.strip() if text.isascii() else _BLANK_ENDS.sub("", text)


def is_missing(text: str) -> bool:
    """Whether a cell means a missing value."""
    return text.lower() in MISSING


def number(text: str) -> float:
    """A finite decimal number with a point. Raises ValueError for what else Python reads as one: 1_2, inf, nan."""
    if not NUMBER.fullmatch(text) or not math.isfinite(value := float(text)):
        raise ValueError(f"{text!r} is not a number")
    return value


def without_commas(texts: list[str], decimal: Decimal | None) -> list[str]:
    """The cells of a column of numbers with points as decimal signs and nothing between thousands; others as they are.

    decimal: the decimal sign; then some cells of the column may be no numbers. None where the sign is to be detected.
    Raises ValueError, with the cell as its text, for a number with a point where the sign is the comma.
    """
    if decimal is None:
        return [text.replace(",", ".") for text in texts] if has_decimal_commas(texts) else texts
    with_comma, point = (THOUSANDS, "") if decimal == "point" else (DECIMAL_COMMA, ".")
    known = [text for text in texts if not is_missing(text)]
    numbers = [text for text in known if NUMBER.fullmatch(text) or with_comma.fullmatch(text)]
    if len(numbers) < LEAST_NUMBERS * len(known):
        return texts
    if decimal == "comma" and (points := [text for text in numbers if "." in text]):
        raise ValueError(points[0])
    return [text.replace(",", point) if with_comma.fullmatch(text) else text for text in texts]


def may_be_thousands(texts: list[str]) -> bool:
    """Whether the cells of a column are numbers whose commas may be decimal signs or stand after thousands: 1,234."""
    known = [text for text in texts if not is_missing(text)]
    commas = [text for text in known if "," in text]
    return bool(commas) and all(THOUSANDS.fullmatch(text) or NUMBER.fullmatch(text) for text in known)


def has_decimal_commas(texts: list[str]) -> bool:
    """Whether the cells of a column are numbers with decimal commas; asked only where commas separate no cells.

    1,234 alone is no proof: it may be a thousand.
    """
    known = [text for text in texts if not is_missing(text)]
    with_comma = [text for text in known if DECIMAL_COMMA.fullmatch(text)]
    rest = [text for text in known if not DECIMAL_COMMA.fullmatch(text)]
    return (
        any(not THOUSANDS.fullmatch(text) for text in with_comma)
        and all(NUMBER.fullmatch(text) for text in rest)
        and not any("." in text for text in rest)
    )
