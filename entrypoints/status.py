"""How far a compression is: what is done, running, in quarantine, unreached and left, and how long it will take."""

from dataclasses import dataclass
from pathlib import Path

from entrypoints.cli import launch


@dataclass(frozen=True)
class Config:
    slides: str = "data/phantom/breast.csv"
    """A slide, a folder, a glob in quotes, or a cohort's CSV, as given to `compress`."""
    out: Path = Path("work/codes")
    """The folder that `compress` fills."""
    columns: str = ""
    """What the cohort's table calls its columns, as patient=case_id,slide=file; empty where as we do."""


def run(config: Config) -> None:
    """Show how far a compression is, also one that runs elsewhere; it is only looked at."""
    from nic.stages.selection import selected_slides
    from nic.stages.status import show_status

    show_status(selected_slides(config.slides, config.columns), config.out)


if __name__ == "__main__":
    launch(run, Config, needs_store=False)
