"""Where a slide lies: the id, the path or the address, and the um/px that overrules the file's."""

from dataclasses import dataclass
from pathlib import Path

from nic.slides.names import file_name, slide_id


@dataclass(frozen=True)
class SlideSource:
    """What to open. mpp: um/px at level 0, where the file does not say it or says it wrong.

    uri: where it lies if not on this machine; nic.slides.staging brings it here, `path` is then its name alone.
    as_written: the path is what a table says, and the file may be called a little otherwise, see nic.slides.finding.
    """

    slide_id: str
    path: Path
    mpp: float | None = None
    uri: str = ""
    as_written: bool = False

    @classmethod
    def elsewhere(cls, uri: str, mpp: float | None = None) -> "SlideSource":
        """The slide at an address; its id is made of the file's name."""
        return cls(slide_id(uri), Path(file_name(uri)), mpp, uri)
