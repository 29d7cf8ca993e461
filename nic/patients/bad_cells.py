"""The error of cells that cannot be read: one sentence for a column, with its rows, its words and what to write."""

import re
from collections.abc import Sequence

from nic.errors import CohortError

A_NUMBER, AN_EVENT = "a number", "0, 1, true, false, yes or no"
"""What is wanted in a column whose words may have a meaning in the study file, `values:`."""
MOST_NAMED = 5
"""Rows and words that a sentence names; the others are counted."""


def bad_cell(file: str, row: int, column: str, text: str, wanted: str) -> CohortError:
    """The error of one cell. row: as a spreadsheet counts. wanted: in words."""
    return bad_cells(file, [(row, text)], column, wanted)


def bad_cells(file: str, cells: Sequence[tuple[int, str]], column: str, wanted: str) -> CohortError:
    """The error of all cells of a column that cannot be read. cells: (row, text)."""
    rows, texts = [str(row) for row, _ in cells], list(dict.fromkeys(text for _, text in cells))
    where = f"{file}, row{'s' if len(rows) > 1 else ''} {_first(rows)}, column {column!r}"
    return CohortError(f"{where}: found {_first([*map(repr, texts)])}, wanted {wanted}{_remedy(texts, wanted)}")


def _first(words: Sequence[str]) -> str:
    more = len(words) - MOST_NAMED
    return ", ".join(words[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _remedy(texts: Sequence[str], wanted: str) -> str:
    if any(re.fullmatch(r"[\d.]+,\d+", text) for text in texts):
        return "; write decimals with a point, or say `decimal: comma` in the study"
    words = [text for text in texts if text[:1].isalpha()]
    if wanted in (A_NUMBER, AN_EVENT) and 0 < len(words) <= MOST_NAMED:
        values = ", ".join(f"{word}: {'0 or 1' if wanted == AN_EVENT else 'a number'}" for word in words)
        return f"; or say in the study file what the words mean, values: {{{values}}}"
    return ""
