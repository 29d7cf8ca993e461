"""The name of a figure on one part of the data, as gates and tags write it. Needs no library."""

from dataclasses import dataclass

from nic.errors import RegistryError


@dataclass(frozen=True)
class FigureName:
    """A figure on one part of the data, written <part>.<figure>: `external.auc` is the AUC of the external patients."""

    part: str
    figure: str

    @classmethod
    def parse(cls, text: str) -> "FigureName":
        """Raises RegistryError when the text has not the form <part>.<figure>."""
        part, _, figure = text.partition(".")
        if not part or not figure:
            raise RegistryError(f"{text!r} names no figure; wanted <part>.<figure>, such as external.auc")
        return cls(part, figure)

    def __str__(self) -> str:
        return f"{self.part}.{self.figure}"
