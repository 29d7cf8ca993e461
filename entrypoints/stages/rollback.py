"""What `entrypoints.rollback` does."""

from typing import Any

from entrypoints.rollback import Config
from nic.tracking.aliases import roll_back
from nic.tracking.registry import CHAMPION, PREVIOUS, alias_version
from nic.tracking.runs import stage_run


def inputs(config: Config) -> dict[str, str]:
    holders = {alias: alias_version(config.name, alias) for alias in (CHAMPION, PREVIOUS)}
    return {alias: version.version if version else "none" for alias, version in holders.items()}


def run(config: Config) -> dict[str, Any]:
    """See `entrypoints.rollback`."""
    with stage_run("rollback", config, inputs(config)) as stage:
        now, before = roll_back(config.name, config.reason)
        print(f"{config.name}: version {now.version} is champion again, in place of version {before.version}")
        print("A server resolves the alias when it starts: start it again.")
        stage.result.update(champion=now.version, previous=before.version)
    return stage.result
