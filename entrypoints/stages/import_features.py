"""What `entrypoints.import_features` does."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from entrypoints.import_features import Config
from entrypoints.stages import compress
from nic.compression.interchange.layouts import import_folder
from nic.compression.interchange.tile_codes import Hints
from nic.slides.slide import SlideSource
from nic.stages.slides_named import slides_named
from nic.tracking.digests import bytes_digest, codes_digest, digest
from nic.tracking.runs import stage_run
from nic.tracking.slide_digests import slides_digest


def sources(config: Config) -> dict[str, SlideSource]:
    found = slides_named(config.slides, config.columns) if config.slides else []
    return {source.slide_id: source for source in found}


def inputs(config: Config) -> dict[str, str]:
    """The folder's name is among them: it may be the only one to name the encoder."""
    features = digest({config.features.name: bytes_digest(config.features)})
    patches = bytes_digest(Path(config.patches)) if config.patches else ""
    slides = slides_digest(list(sources(config).values())) if config.slides else ""
    return {"features": features, "patches": patches, "slides": slides}


def run(config: Config) -> dict[str, Any]:
    """See `entrypoints.import_features`."""
    with stage_run("import_features", config, inputs(config)) as stage:
        hints = Hints(
            mpp=config.mpp or None, encoder=config.encoder, patches=config.patches, tile_um=config.tile_um or None
        )
        report = import_folder(
            config.features, config.layout, config.out, hints, sources(config), config.most_collisions
        )
        compress.show(config.out, f"{len(report.imported)} imported", report)
        for snapping in report.imported:
            print(f"  {snapping}")
        stage.log("slides", len(report.imported))
        stage.log("quarantined", len(report.quarantined))
        stage.log("unreached", len(report.unreached))
        stage.log_table(pd.DataFrame([asdict(s) for s in report.imported]), "snapping.csv")
        stage.leave("codes", codes_digest(config.out))
        stage.result.update(outputs=[str(config.out)], quarantined=[q.slide for q in report.quarantined])
        compress.end(config.out, report, len(report.imported), config.strict)
    return stage.result
