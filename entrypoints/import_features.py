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
    """Whose files they are; nic-npy is the original NIC."""
    out: Path = Path("work/imported")
    """Folder that receives <slide>.h5, quarantine.csv where slides were refused, unreached.csv where they could not be
    read; files of an earlier import stay."""
    slides: str = ""
    """A folder, a glob in quotes, or a cohort's CSV: their um/px and size are asked for; empty when there are none."""
    mpp: float = 0
    """um/px at level 0 of all slides, overrules theirs; 0 leaves it to them. The files of other tools do not say it."""
    encoder: str = ""
    """Name of the encoder, where neither file nor folder tells (CLAM, nic-npy)."""
    patches: str = ""
    """CLAM's folder of patch coordinates, for the size of its tiles."""
    tile_um: float = 0
    """Side of a tile in um, where the files do not say it (nic-npy: 64); 0 leaves it to them."""
    most_collisions: float = 0
    """Largest share of a slide's tiles that may be left out because another tile holds their cell (CLAM's contours)."""
    columns: str = ""
    """What the cohort's table calls its columns, as patient=case_id,slide=file; empty where as we do."""
    strict: bool = False
    """Exit with code 1 when a slide is in quarantine, as it does in any case when one could not be reached."""


def inputs(config: Config) -> dict[str, str]:
    from nic.stages import import_features

    return import_features.inputs(config.features, config.patches, config.slides, config.columns)


def run(config: Config) -> dict[str, Any]:
    """Take features in, tell how far tiles were moved onto the grid, and keep what cannot be taken in apart."""
    from nic.compression.interchange.layouts import import_folder
    from nic.compression.interchange.tile_codes import Given
    from nic.stages.import_features import report_import
    from nic.stages.selection import selected_slides
    from nic.tracking.runs import stage_run

    with stage_run("import_features", config, inputs(config)) as stage:
        given = Given(
            mpp=config.mpp or None, encoder=config.encoder, patches=config.patches, tile_um=config.tile_um or None
        )
        slides = selected_slides(config.slides, config.columns) if config.slides else []
        sources = {slide.slide_id: slide for slide in slides}
        report = import_folder(config.features, config.layout, config.out, given, sources, config.most_collisions)
        stage.result.update(report_import(report, config.out, config.strict, stage))
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
