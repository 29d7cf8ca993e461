"""Features of other tools as compressed slides, so that patient models train on them."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from entrypoints import compress
from entrypoints.cli import launch
from nic.compression.interchange.layouts import import_folder
from nic.compression.interchange.tile_codes import Given
from nic.slides.slide import SlideSource
from nic.tracking.digests import digest, folder_digest, output_digest
from nic.tracking.runs import stage_run


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
    strict: bool = False
    """Exit with code 1 when a slide is in quarantine, as it does in any case when one could not be reached."""


def sources(config: Config) -> dict[str, SlideSource]:
    found = compress.sources(compress.Config(slides=config.slides)) if config.slides else []
    return {source.slide_id: source for source in found}


def inputs(config: Config) -> dict[str, str]:
    slides = {name: [source.mpp, output_digest(source.path)] for name, source in sources(config).items()}
    patches = folder_digest(Path(config.patches)) if config.patches else ""
    return {"features": folder_digest(config.features), "patches": patches, "slides": digest(slides)}


def run(config: Config) -> dict[str, Any]:
    """Take features in, tell how far tiles were moved onto the grid, and keep what cannot be taken in apart."""
    with stage_run("import_features", config, inputs(config)) as stage:
        given = Given(
            mpp=config.mpp or None, encoder=config.encoder, patches=config.patches, tile_um=config.tile_um or None
        )
        report = import_folder(
            config.features, config.layout, config.out, given, sources(config), config.most_collisions
        )
        compress.show(config.out, f"{len(report.done)} imported", report)
        for snapping in report.done:
            print(f"  {snapping}")
        stage.log("slides", len(report.done))
        stage.log("quarantined", len(report.quarantined))
        stage.log("unreached", len(report.unreached))
        stage.log_table(pd.DataFrame([asdict(s) for s in report.done]), "snapping.csv")
        stage.leave("codes", folder_digest(config.out, "*.h5"))
        stage.result.update(outputs=[str(config.out)], quarantined=[q.slide for q in report.quarantined])
        compress.end(config.out, report, len(report.done), config.strict)
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
