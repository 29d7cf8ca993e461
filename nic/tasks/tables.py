"""Tables of labelled tiles: columns by name, and errors that name the row as an editor counts it."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nic.errors import TaskError


def read_table(path: Path, columns: Iterable[str | None]) -> pd.DataFrame:
    """A CSV as text, unchanged. Raises TaskError: missing, empty, not a table, a column that it does not have."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise TaskError(f"{path}: no such table of labelled tiles") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise TaskError(f"{path.name}: not a CSV: {error}") from error
    if missing := [column for column in columns if column is not None and column not in table]:
        raise TaskError(f"{path.name}: no column {missing[0]!r}; it has {', '.join(map(str, table.columns))}")
    if table.empty:
        raise TaskError(f"{path.name}: no rows")
    return table


def numbers(path: Path, table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """A column as finite numbers [N]. Raises TaskError naming the first row that has none."""
    values = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)
    if not np.isfinite(values).all():
        index = int(np.isfinite(values).argmin())
        found = table[column].iloc[index]
        raise TaskError(f"{row(path, index)}: {column} is {found!r}, wanted a finite number")
    return values


def row(path: Path, index: int) -> str:
    """A row's name in messages; the header is row 1."""
    return f"{path.name} row {index + 2}"
