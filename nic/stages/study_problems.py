"""What stands in the way of a study: the table of `check_study`, a row for each problem and each warning."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nic.errors import NicError, SlideError, StoreUnreached, StudyError
from nic.stages.study_tables import StudyTable

PLACE = re.compile(
    r"(?:(?P<file>[^:,]+\.[A-Za-z]\w*)(?:, rows? (?P<row>\d[\d, ]*(?: and \d+ more)?))?"
    r"(?:, column '(?P<column>[^']*)')?(?:, [^:]*)?: )?(?:(?P<key>[\w-]+(?:\.[\w-]+)*): )?(?P<rest>.*)",
    re.DOTALL,
)
"""How the sentence of an error begins: file, row, column; the key of a study file."""
WANTED = re.compile(r"(?:found )?(?P<there>.*?)(?:(?:, |; |: )wanted |; |$)(?P<write>.*)", re.DOTALL)
"""What is there, and what is wanted or what to do."""
MISSING_PATH = re.compile(r"no such (?:folder|table|file)")
RATIOS = (4, 5, 4, 8, 14, 14)
"""Widths of the columns on a terminal."""
COLUMNS = {"file": "file", "row": "row", "key": "column or key", "there": "what is there", "write": "what to write"}


@dataclass(frozen=True)
class Problem:
    """One row. row: as a spreadsheet counts, or several. key: column of a table, or key of the study file.

    stops: whether the study must not begin; else it is a warning.
    """

    file: str
    row: str
    key: str
    there: str
    write: str
    stops: bool = True

    @classmethod
    def of(cls, sentence: str, file: str = "", key: str = "", stops: bool = True) -> "Problem":
        """From the sentence of an error. file, key: where the sentence names none."""
        place = PLACE.fullmatch(sentence)
        assert place is not None  # every part is optional
        of_object = f"{place['key']}: " if key and place["key"] else ""  # the name of a tile task, for example
        wanted = WANTED.fullmatch(of_object + place["rest"])
        assert wanted is not None
        column = place["column"] or key or place["key"] or ""
        there, write = wanted["there"], wanted["write"]
        if MISSING_PATH.search(there) and not write:
            write = "a path relative to the root of the study, or an absolute one"
        return cls(place["file"] or file, place["row"] or "", column, there, write, stops)

    def moved(self, file: str, row: str, key: str) -> "Problem":
        """The same at another place; the file that it named, such as a slide's, begins what is there."""
        return replace(
            self, file=file, row=row, key=key, there=f"{self.file}: {self.there}" if self.file else self.there
        )


@dataclass
class Problems:
    """The rows, in the order in which they were noted. data: what the study reads, piece by piece."""

    rows: list[Problem] = field(default_factory=list)
    data: StudyTable | None = None

    def note(self, problem: Problem) -> None:
        """Add a row; one that differs from another in its key alone becomes one with it."""
        for number, row in enumerate(self.rows):
            if replace(row, key=problem.key) == problem:
                keys = dict.fromkeys([*row.key.split("; "), problem.key])
                self.rows[number] = replace(row, key="; ".join(keys))
                return
        self.rows.append(problem)

    @contextmanager
    def noting(self, file: str = "", key: str = "", stops: bool = True) -> Iterator[None]:
        """Note each sentence of an error that is raised, and go on. file, key: where it does not name them."""
        try:
            yield
        except StoreUnreached:
            raise
        except NicError as error:
            remedy = f"; {error.remedy}" if isinstance(error, SlideError) else ""
            for sentence in error.args:
                self.note(Problem.of(f"{sentence}{remedy}", file, key, stops))

    @property
    def stopping(self) -> list[Problem]:
        """The problems, without warnings."""
        return [problem for problem in self.rows if problem.stops]

    def table(self) -> pd.DataFrame:
        """A row for each, problems first."""
        kinds = {True: "problem", False: "warning"}
        rows = [{"kind": kinds[p.stops], **{COLUMNS[k]: v for k, v in asdict(p).items() if k in COLUMNS}} for p in self]
        return pd.DataFrame(rows, columns=["kind", *COLUMNS.values()])

    def __iter__(self) -> Iterator[Problem]:
        return iter(sorted(self.rows, key=lambda problem: not problem.stops))

    def show(self, console: Console) -> None:
        """Print the table."""
        table = Table(title="Problems and warnings", show_lines=True, expand=True)
        for title, ratio in zip(("", *COLUMNS.values()), RATIOS, strict=True):
            table.add_column(title, ratio=ratio, overflow="fold")  # a path is never cut
        for problem in self:
            kind = "[bold red]problem" if problem.stops else "[yellow]warning"
            cells = [problem.file, problem.row, problem.key, problem.there, problem.write]
            table.add_row(kind, *map(escape, cells))
        console.print(table)

    def check(self, study: str) -> None:
        """Raises StudyError when a problem stops the study. study: name of its file."""
        if count := len(self.stopping):
            problems = "1 problem" if count == 1 else f"{count} problems"
            raise StudyError(f"{study}: {problems}, in the table above; correct the table or the study file, run again")
