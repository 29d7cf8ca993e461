"""What `entrypoints.export_features` does."""

from typing import Any

from entrypoints.export_features import Config
from nic.compression.interchange.layouts import export_folder
from nic.tracking.digests import codes_digest
from nic.tracking.runs import stage_run


def inputs(config: Config) -> dict[str, str]:
    return {"codes": codes_digest(config.codes)}


def run(config: Config) -> dict[str, Any]:
    """See `entrypoints.export_features`."""
    with stage_run("export_features", config, inputs(config)) as stage:
        slides = export_folder(config.codes, config.layout, config.out)
        print(f"{config.out}: {len(slides)} slides laid out as {config.layout}")
        stage.log("slides", len(slides))
        stage.result.update(outputs=[str(config.out)])
    return stage.result
