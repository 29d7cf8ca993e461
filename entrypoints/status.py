"""How far a compression is: slides done, running, in quarantine, unreached and left, and the time to go."""

from dataclasses import dataclass
from pathlib import Path

from entrypoints.cli import launch


@dataclass(frozen=True)
class Config:
    slides: str = "data/phantom/breast.csv"
    """A slide, a folder, a glob in quotes, or a cohort's CSV, as it was given to `compress`."""
    out: Path = Path("work/codes")
    """The folder that `compress` fills."""
    columns: str = ""
    """The table's names of the columns patient and slide, as patient=case_id,slide=file; empty: patient and slide."""


def run(config: Config) -> None:
    """Show how far a compression is, also one that runs on another machine. Nothing is changed."""
    from nic.stages.selection import selected_slides
    from nic.stages.status import show_status

    show_status(selected_slides(config.slides, config.columns), config.out)


if __name__ == "__main__":
    launch(run, Config, needs_store=False)
