"""Who is served: the aliases of a registered model, moved by one process at a time and never left empty."""

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
    PREVIOUS,
    RegisteredVersion,
    alias_version,
    find_version,
    tag_version,
)

DEVELOPMENT = ".dev"
"""Ending of a registered model whose versions are served only once they were copied to the name without it."""
COPY_OF = "promotion.copy_of"
LONGEST_WAIT_S = 60.0
TAKEN = (ErrorCode.Name(RESOURCE_ALREADY_EXISTS), ErrorCode.Name(RESOURCE_DOES_NOT_EXIST))
"""What a store says of a name that is there: the second, when it is gone by the time that the store looks at it."""


def served_name(version: RegisteredVersion) -> str:
    """Under which name the version would be served: its own, without the ending of the development environment."""
    return version.name.removesuffix(DEVELOPMENT)


def is_same(version: RegisteredVersion, other: RegisteredVersion | None) -> bool:
    """Whether `other` is this version, or the copy of it that is served."""
    return other is not None and version.full_name in (other.full_name, other.copied_from)


def challenge(version: RegisteredVersion) -> None:
    """Show which version was judged last; it stays the challenger until it wins or another one is judged."""
    with alone(served_name(version)):
        MlflowClient().set_registered_model_alias(version.name, CHALLENGER, version.version)


def crown(version: RegisteredVersion, instead_of: RegisteredVersion | None) -> RegisteredVersion:
    """Make the version champion and the champion `previous`; a version of <name>.dev is copied to <name> first.

    instead_of: the champion that the version was judged against. Raises Overtaken when there is another by now: of two
    promotions at once, one wins, and the other was never compared with it.
    """
    name = served_name(version)
    client = MlflowClient()
    with alone(name):
        champion = alias_version(name, CHAMPION)
        if (champion.version if champion else None) != (instead_of.version if instead_of else None):
            now = f"version {champion.version}" if champion else "none"
            raise Overtaken(f"{name}: another promotion or rollback came first, champion is {now} now; promote again")
        crowned = version if version.name == name else _copied(version, name)
        # The old champion first: at no moment is there a name without a champion that had one.
        if champion:
            client.set_registered_model_alias(name, PREVIOUS, champion.version)
        client.set_registered_model_alias(name, CHAMPION, crowned.version)
        if is_same(version, alias_version(version.name, CHALLENGER)):
            client.delete_registered_model_alias(version.name, CHALLENGER)
    return crowned


def roll_back(name: str, reason: str) -> tuple[RegisteredVersion, RegisteredVersion]:
    """`previous` and `champion` change places: who is champion now, and who was.

    Raises RegistryError when there is nobody to go back to.
    """
    client = MlflowClient()
    with alone(name):
        champion = find_version(f"models:/{name}@{CHAMPION}")
        previous = alias_version(name, PREVIOUS)
        if previous is None or previous.version == champion.version:
            raise RegistryError(f"{name}: version {champion.version} has no predecessor to go back to")
        client.set_registered_model_alias(name, CHAMPION, previous.version)
        client.set_registered_model_alias(name, PREVIOUS, champion.version)
        verdict = {"promotion.verdict": "rolled back", "promotion.reasons": reason}
        tag_version(name, champion.version, verdict)
    return previous, champion


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Hold the aliases of a registered model, for the moment that it takes to move them.

    The lock is a registered model `<name>.lock`: of all that a registry can do, only making a name is sure to work
    once, be it SQLite, PostgreSQL, or either behind a server. A process that dies while it holds it leaves it behind;
    then the RegistryError says how to take it away.
    """
    token, client = uuid4().hex, MlflowClient()
    lock = f"{name}.lock"
    _take(client, lock, token)
    try:
        yield
    finally:
        if _tags(client, lock).get("token") == token:  # else somebody took us for dead
            client.delete_registered_model(lock)


def _take(client: MlflowClient, lock: str, token: str) -> None:
    who = {"token": token, "holder": f"{socket.gethostname()}, pid {os.getpid()}"}
    give_up = time.monotonic() + LONGEST_WAIT_S
    while True:
        try:
            client.create_registered_model(lock, tags=who, description="Aliases are being moved; gone in a moment.")
            return
        except MlflowException as error:
            if error.error_code not in TAKEN:
                raise
        found = _tags(client, lock)
        if found.get("token") == token:  # ours: the answer to the first request was lost, and it was sent again
            return
        if time.monotonic() > give_up:
            holder = found.get("holder", "somebody")
            raise RegistryError(f"{lock}: held by {holder}; if that process is gone, delete this registered model")
        time.sleep(random.uniform(0.02, 0.2))


def _tags(client: MlflowClient, name: str) -> dict[str, str]:
    """Of a registered model that may be gone by now."""
    try:
        return dict(client.get_registered_model(name).tags)
    except MlflowException:
        return {}


def _copied(version: RegisteredVersion, name: str) -> RegisteredVersion:
    made = MlflowClient().copy_model_version(version.uri, name)
    tag_version(name, str(made.version), {COPY_OF: version.full_name})
    return find_version(f"models:/{name}/{made.version}")
