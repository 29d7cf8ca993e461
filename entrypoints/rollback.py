"""Return to the version that was served before."""

from dataclasses import dataclass
from typing import Any

from entrypoints.cli import launch


@dataclass(frozen=True)
class Config:
    name: str
    """Name of the registered model: nic-<endpoint>."""
    reason: str = ""
    """Why; it is kept with the version that is withdrawn."""


def inputs(config: Config) -> dict[str, str]:
    from nic.tracking.registry import CHAMPION, PREVIOUS, alias_version

    holders = {alias: alias_version(config.name, alias) for alias in (CHAMPION, PREVIOUS)}
    return {alias: version.version if version else "none" for alias, version in holders.items()}


def run(config: Config) -> dict[str, Any]:
    """Make the previous champion champion again; the present champion becomes the previous one."""
    from nic.tracking.aliases import roll_back
    from nic.tracking.runs import stage_run

    with stage_run("rollback", config, inputs(config)) as stage:
        from nic.stages.patient_card import describe

        now, before = roll_back(config.name, config.reason)
        print(f"{config.name}: version {now.version} is champion again, in place of version {before.version}")
        print("A server resolves the alias when it starts: start it again.")

        for version in (now, before):
            describe(version)
        stage.result.update(champion=now.version, previous=before.version)
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
