"""Score maps of slides: where a registered model's answers come from, as pictures, for QuPath, and as rasters."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrypoints.cli import launch


@dataclass(frozen=True)
class Config:
    model: str
    """Registered model: models:/nic-<endpoint>@champion."""
    codes: Path
    """Folder of compressed slides, made by the model's own encoder."""
    slides: str = ""
    """A slide, a folder, a glob in quotes, or a cohort's CSV (slides of a patient get one answer); empty: all files of
    `codes`, drawn on the small pictures in them."""
    out: Path = Path("maps")
    """Folder for <patient>.png, <slide>.geojson, <slide>.tif and maps.csv; several classes have files of their own."""
    columns: str = ""
    """The table's names of the columns patient and slide, as patient=case_id,slide=file; empty: patient and slide."""


def inputs(config: Config) -> dict[str, str]:
    from nic.stages.selection import selection_digest
    from nic.tracking.digests import codes_digest
    from nic.tracking.registry import find_version

    model = {"codes": codes_digest(config.codes), "model": find_version(config.model).uri}
    return model | {"slides": selection_digest(config.slides)}


def run(config: Config) -> dict[str, Any]:
    """Draw additive maps, whose mean is the score. maps.csv says why a patient has no map."""
    from nic.stages.selection import selected_patients
    from nic.tracking.runs import stage_run

    patients = selected_patients(config.slides, config.codes, config.columns)
    with stage_run("draw_maps", config, inputs(config)) as stage:
        from nic.stages.draw_maps import draw_maps

        stage.result.update(draw_maps(patients, config.model, config.codes, config.out, stage))
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
