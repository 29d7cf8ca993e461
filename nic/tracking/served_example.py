"""An example that is kept with a registered version: a request, and the version's answer to it."""

from dataclasses import dataclass

import pandas as pd
from mlflow.types.schema import ColSpec, DataType, Schema

TYPES = {bool: DataType.boolean, int: DataType.long, float: DataType.double}
"""Of the values of an answer; any other value is text."""


@dataclass(frozen=True)
class ServedExample:
    """request: its rows. answer: one row, whose columns are those of every answer."""

    request: pd.DataFrame
    answer: pd.DataFrame

    @property
    def answer_schema(self) -> Schema:
        """The columns of an answer with their types, for the version's page."""
        [row] = self.answer.to_dict("records")
        return Schema([ColSpec(TYPES.get(type(v), DataType.string), str(k), required=False) for k, v in row.items()])
