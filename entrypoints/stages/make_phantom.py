"""What `entrypoints.make_phantom` does."""

from typing import Any

from entrypoints.make_phantom import Config
from nic.tracking.runs import stage_run


def inputs(config: Config) -> dict[str, str]:
    return {}


def run(config: Config) -> dict[str, Any]:
    """See `entrypoints.make_phantom`."""
    with stage_run("make_phantom", config, inputs(config)) as stage:
        # Here: the run is open, or refused, before the seconds that this takes to import.
        from nic.phantom.phantom_study import PhantomConfig, make_phantom

        study = make_phantom(config.out, PhantomConfig(seed=config.seed), workers=config.workers)
        stage.result.update(digest=study.digest, outputs=[str(config.out)])
    return stage.result
