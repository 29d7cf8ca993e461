"""The aliases of a registered model: champion, previous, challenger. One process at a time moves them."""

import os
import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.tracking import MlflowClient

from nic.errors import Overtaken, RegistryError
from nic.tracking.registry import (
    CHALLENGER,
    CHAMPION,
    NETWORKS_OF,
    PREVIOUS,
    RegisteredVersion,
    alias_version,
    find_version,
    tag_version,
)

DEVELOPMENT = ".dev"
"""Ending of a registered model for development; its versions are served as copies under the name without it."""
COPY_OF = "promotion.copy_of"
VERDICT, REASONS, ROLLED_BACK = "promotion.verdict", "promotion.reasons", "rolled back"
"""Tags of a version with its last verdict, and the verdict after a rollback."""
LONGEST_WAIT_S = 60.0
NAME_EXISTS = (ErrorCode.Name(RESOURCE_ALREADY_EXISTS), ErrorCode.Name(RESOURCE_DOES_NOT_EXIST))
"""What a store answers when a name exists; the second when the name is deleted before the store looks at it."""


def served_name(version: RegisteredVersion) -> str:
    """The name under which the version would be served: its own, without `.dev`."""
    return version.name.removesuffix(DEVELOPMENT)


def is_same(version: RegisteredVersion, other: RegisteredVersion | None) -> bool:
    """Whether `other` is this version, or the copy of it that is served."""
    return other is not None and version.full_name in (other.full_name, other.copied_from)


def mark_challenger(candidate: RegisteredVersion) -> None:
    """Show which version is being judged. It stays challenger until it is promoted or another version is judged."""
    with locked_aliases(served_name(candidate)):
        MlflowClient().set_registered_model_alias(candidate.name, CHALLENGER, candidate.version)


def make_champion(candidate: RegisteredVersion, instead_of: RegisteredVersion | None) -> RegisteredVersion:
    """Make the candidate champion and the champion `previous`; a version of <name>.dev is copied to <name> first.

    instead_of: the champion that the candidate was compared with. Returns the version that is served. Raises Overtaken
    when the champion has changed since: of two promotions at the same time one succeeds, and the other candidate was
    not compared with the new champion.
    """
    name = served_name(candidate)
    client = MlflowClient()
    with locked_aliases(name):
        champion = alias_version(name, CHAMPION)
        if (champion.version if champion else None) != (instead_of.version if instead_of else None):
            now = f"version {champion.version}" if champion else "none"
            raise Overtaken(f"{name}: another promotion or rollback came first, champion is {now} now; promote again")
        promoted = candidate if candidate.name == name else _copied(candidate, name)
        # `previous` is set first, so that the name has a champion at every moment.
        if champion:
            client.set_registered_model_alias(name, PREVIOUS, champion.version)
        client.set_registered_model_alias(name, CHAMPION, promoted.version)
        if is_same(candidate, alias_version(candidate.name, CHALLENGER)):
            client.delete_registered_model_alias(candidate.name, CHALLENGER)
    return promoted


def roll_back(name: str, reason: str) -> tuple[RegisteredVersion, RegisteredVersion]:
    """`previous` and `champion` change places. Returns the champion now and the champion before.

    Raises RegistryError when there is no previous champion.
    """
    client = MlflowClient()
    with locked_aliases(name):
        champion = find_version(f"models:/{name}@{CHAMPION}")
        previous = alias_version(name, PREVIOUS)
        if previous is None or previous.version == champion.version:
            raise RegistryError(f"{name}: version {champion.version} has no predecessor to go back to")
        client.set_registered_model_alias(name, CHAMPION, previous.version)
        client.set_registered_model_alias(name, PREVIOUS, champion.version)
        verdict = {VERDICT: ROLLED_BACK, REASONS: reason}
        tag_version(name, champion.version, verdict)
    return previous, champion


def rollback_reason(version: RegisteredVersion) -> str | None:
    """Why the version, or the version whose networks it has, was rolled back; empty where no reason was written.

    None where it was not rolled back, or is champion again.
    """
    if is_same(version, alias_version(served_name(version), CHAMPION)):
        return None
    trained = version.tags.get(NETWORKS_OF)
    for tags in (version.tags, find_version(f"models:/{trained}").tags if trained else {}):
        if tags.get(VERDICT) == ROLLED_BACK:
            return tags.get(REASONS, "")
    return None


@contextmanager
def locked_aliases(name: str) -> Iterator[None]:
    """Keep other processes from moving the aliases of a registered model while the block runs.

    The lock is a registered model `<name>.lock`. Of all that a registry can do, only the creation of a name succeeds
    for exactly one process, on SQLite, on PostgreSQL, and behind a server. A process that dies while it holds the lock
    leaves it behind; the RegistryError then says how to remove it.
    """
    token, client = uuid4().hex, MlflowClient()
    lock = f"{name}.lock"
    _take(client, lock, token)
    try:
        yield
    finally:
        if _tags(client, lock).get("token") == token:  # else somebody took this process for dead
            client.delete_registered_model(lock)


def _take(client: MlflowClient, lock: str, token: str) -> None:
    tags = {"token": token, "holder": f"{socket.gethostname()}, pid {os.getpid()}"}
    give_up = time.monotonic() + LONGEST_WAIT_S
    while True:
        try:
            client.create_registered_model(lock, tags=tags, description="Aliases are being moved; gone in a moment.")
            return
        except MlflowException as error:
            if error.error_code not in NAME_EXISTS:
                raise
        holder = _tags(client, lock)
        if holder.get("token") == token:  # ours: the answer to the first request was lost, and it was sent again
            return
        if time.monotonic() > give_up:
            process = holder.get("holder", "another process")
            raise RegistryError(f"{lock}: held by {process}; if that process has ended, delete this registered model")
        time.sleep(random.uniform(0.02, 0.2))


def _tags(client: MlflowClient, name: str) -> dict[str, str]:
    """Tags of a registered model that may be deleted by now."""
    try:
        return dict(client.get_registered_model(name).tags)
    except MlflowException:
        return {}


def _copied(version: RegisteredVersion, name: str) -> RegisteredVersion:
    copy = MlflowClient().copy_model_version(version.uri, name)
    tag_version(name, str(copy.version), {COPY_OF: version.full_name})
    return find_version(f"models:/{name}/{copy.version}")
