"""How far a compression is."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from nic.compression.codes_folder import CodesFolder
from nic.slides.source import SlideSource


def show_status(slides: Sequence[SlideSource], out: Path) -> None:
    """Print which of the slides `out` holds, and how long the others will take."""
    status = CodesFolder(out).status([source.slide_id for source in slides])
    console = Console()
    for running in status.running:
        console.print(f"running: {running.slide} on {running.host}, pid {running.pid}, seen {running.age_s:.0f} s ago")
    for title, records in (("Quarantine", status.quarantined), ("Unreached", status.unreached)):
        if records:
            table = Table("slide", "reason", "evidence", "how to release it", title=title)
            for record in records:
                table.add_row(record.slide, record.reason, record.evidence, record.remedy)
            console.print(table)
    minutes = f"{status.time_to_go_s / 60:.1f} min to go" if status.time_to_go_s is not None else "nothing is running"
    console.print(
        f"{len(status.finished)} done, {len(status.running)} running, {len(status.quarantined)} in quarantine, "
        f"{len(status.unreached)} unreached, {len(status.left)} left; "
        f"{status.tiles} tiles, {status.tiles_per_s:.0f} tiles/s, {minutes}"
    )
