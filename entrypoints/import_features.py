"""Features of other tools as compressed slides, so that patient models train on them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from entrypoints.cli import launch


@dataclass(frozen=True)
class Config:
    features: Path
    """Folder of features: TRIDENT's features_<encoder>, CLAM's features with h5_files or pt_files, STAMP's, bags."""
    layout: Literal["trident", "clam", "stamp", "slideflow", "nic-npy"]
    """Tool that wrote the files; nic-npy is the original NIC."""
    out: Path = Path("work/imported")
    """Folder for a <slide>.h5 of each slide, quarantine.csv with the refused slides, and unreached.csv with those that
    could not be read. Files of an earlier import stay."""
    slides: str = ""
    """The slides themselves, for their um/px and size: a folder, a glob in quotes, or a cohort's CSV; empty: none."""
    mpp: float = 0
    """um/px at level 0 of all slides, in place of what each slide says; 0: what each slide says. Files of features do
    not say it."""
    encoder: str = ""
    """Name of the encoder, where neither the files nor the folder name it (CLAM, nic-npy)."""
    patches: str = ""
    """CLAM's folder of patch coordinates, which says the size of its tiles; empty: none."""
    tile_um: float = 0
    """Side of a tile in um, where the files do not say it (nic-npy: 64); 0: what the files say."""
    most_collisions: float = 0
    """Largest share of a slide's tiles that may be dropped because another tile lies in the same cell of the grid, as
    CLAM's contours make them."""
    columns: str = ""
    """The table's names of the columns patient and slide, as patient=case_id,slide=file; empty: patient and slide."""
    strict: bool = False
    """Exit with code 1 when a slide is in quarantine. When one could not be read, the exit code is 1 in any case."""


def inputs(config: Config) -> dict[str, str]:
    from nic.stages import import_features

    return import_features.inputs(config.features, config.patches, config.slides, config.columns)


def run(config: Config) -> dict[str, Any]:
    """Import features, and say how far tiles were moved onto the grid. A slide that is refused goes into quarantine."""
    from nic.compression.interchange.layouts import import_folder
    from nic.compression.interchange.tile_codes import Hints
    from nic.stages.import_features import report_import
    from nic.stages.selection import selected_slides
    from nic.tracking.runs import stage_run

    with stage_run("import_features", config, inputs(config)) as stage:
        hints = Hints(
            mpp=config.mpp or None, encoder=config.encoder, patches=config.patches, tile_um=config.tile_um or None
        )
        slides = selected_slides(config.slides, config.columns) if config.slides else []
        sources = {slide.slide_id: slide for slide in slides}
        report = import_folder(config.features, config.layout, config.out, hints, sources, config.most_collisions)
        stage.result.update(report_import(report, config.out, config.strict, stage))
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
