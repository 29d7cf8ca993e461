"""The tables that a study ends with, for the terminal and for the pages of MLflow."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from rich.table import Table


@dataclass(frozen=True)
class StudyTable:
    """Rows of text under a title. A column without any text is left out, wherever the table is shown."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def frame(self) -> pd.DataFrame:
        frame = pd.DataFrame(list(self.rows), columns=list(self.columns), dtype=str)
        return frame[[name for name in frame if not len(frame) or (frame[name] != "").any()]]

    def for_terminal(self) -> Table:
        frame = self.frame
        table = Table(title=self.title)
        for name in frame.columns:
            table.add_column(name, overflow="fold")  # a path or an address is never cut
        for row in frame.itertuples(index=False):
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        frame = self.frame
        rows = [list(frame.columns), ["---"] * len(frame.columns), *frame.to_numpy().tolist()]
        lines = [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
        return "\n".join([*([f"### {self.title}"] if self.title else []), *lines])
