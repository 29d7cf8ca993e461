"""A study file from one or two tables and a folder of slides, as they are."""

from dataclasses import dataclass
from pathlib import Path

from entrypoints.cli import launch, names_in


@dataclass(frozen=True)
class Config:
    table: Path
    """Table of patients or of slides: CSV, TSV or Excel."""
    slides: Path
    """Folder of the slides; folders below it are searched too."""
    clinical: str = ""
    """A second table, which is joined by patient; empty for none."""
    name: str = ""
    """Name of the study and of its files; empty: that of the table."""
    out: Path = Path("studies")
    """Folder for <name>.yaml and for the cohort's table, <name>.csv."""
    patient: str = ""
    """Column of patients; empty: the one that is called so."""
    slide: str = ""
    """Column with the names of slides' files; empty: the one that names them. Without one, slides belong to the patient
    whose identifier is in their name."""
    site: str = ""
    """Column of sites (hospitals); empty for none."""
    external: str = ""
    """Sites whose patients are external: measured once, never trained on. With commas between. Empty: all patients are
    for training, and figures are those of the cross-validation."""
    endpoints: str = ""
    """Columns to predict, with commas between, time+event for survival; empty: all that may be an endpoint."""
    encoder: str = ""
    """A registered encoder, such as models:/nic-encoder@champion. Empty where tile tasks train one."""
    tile_tasks: str = ""
    """Folders of labelled tiles, each with one folder per class, or folders of such folders; with commas between."""
    separator: str = ""
    """Separator of the tables where it is not to be detected: comma, semicolon, tab or bar."""
    decimal: str = ""
    """Decimal sign of the tables where it is not to be detected: comma or point."""
    encoding: str = ""
    """Encoding of the tables where it is not to be detected, such as cp1252."""
    overwrite: bool = False
    """Whether existing files of that name are replaced."""


def run(config: Config) -> None:
    """Write a study file and the cohort's table, say what they follow from, and list what you have to decide."""
    from nic.stages.cohort_draft import Sources
    from nic.stages.init_study import file_name, init_study, show_initial_study
    from nic.tables.text import TextForm

    words = {"separator": config.separator, "decimal": config.decimal, "encoding": config.encoding}
    sources = Sources(
        (config.table, *map(Path, filter(None, [config.clinical]))),
        config.slides,
        config.patient,
        config.slide,
        config.site,
        tuple(names_in(config.external)),
        TextForm.named(words),
    )
    name = file_name(config.name or config.table.stem)
    folders = [Path(folder) for folder in names_in(config.tile_tasks)]
    endpoints = names_in(config.endpoints)
    show_initial_study(init_study(sources, name, config.out, endpoints, config.encoder, folders, config.overwrite))


if __name__ == "__main__":
    launch(run, Config, needs_store=False)
