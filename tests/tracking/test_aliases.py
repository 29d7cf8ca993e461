"""Aliases: which version is served, in which order they move, and that of two promotions at once one is refused."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Event, Thread

import pytest
from mlflow.tracking import MlflowClient

from nic.errors import Overtaken, RegistryError, UnknownModel
from nic.tracking import aliases
from nic.tracking.aliases import is_same, locked_aliases, make_champion, mark_challenger, roll_back
from nic.tracking.registry import CHALLENGER, CHAMPION, PREVIOUS, RegisteredVersion, alias_version, find_version
from nic.tracking.source_digest import PROJECT

NAME = "nic-score"


def made(client: MlflowClient, name: str = NAME) -> RegisteredVersion:
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    found = client.create_model_version(name, source="file:///nowhere/model", tags={"nic.code": "x"})
    return find_version(f"models:/{name}/{found.version}")


def holders(name: str = NAME) -> tuple[str | None, ...]:
    found = [alias_version(name, alias) for alias in (CHAMPION, PREVIOUS, CHALLENGER)]
    return tuple(version.version if version else None for version in found)


def test_a_champion_is_replaced_and_a_rollback_returns_it(client: MlflowClient) -> None:
    first, second = made(client), made(client)
    mark_challenger(first)
    assert holders() == (None, None, "1")
    make_champion(first, None)
    assert holders() == ("1", None, None)
    mark_challenger(second)
    make_champion(second, instead_of=first)
    assert holders() == ("2", "1", None)
    assert [v.version for v in roll_back(NAME, "wrong stain")] == ["1", "2"]
    assert holders() == ("1", "2", None)
    tags = find_version(second.uri).tags
    assert (tags["promotion.verdict"], tags["promotion.reasons"]) == ("rolled back", "wrong stain")


def test_a_candidate_that_was_not_compared_with_the_champion_is_refused(client: MlflowClient) -> None:
    first, second, third = (made(client) for _ in range(3))
    make_champion(first, None)
    make_champion(second, instead_of=first)
    for judged_against in (first, None):
        with pytest.raises(Overtaken, match="champion is version 2 now"):
            make_champion(third, instead_of=judged_against)
    assert holders() == ("2", "1", None)


def test_a_rollback_without_a_predecessor_is_refused(client: MlflowClient) -> None:
    with pytest.raises(UnknownModel):
        roll_back(NAME, "")
    make_champion(made(client), None)
    with pytest.raises(RegistryError, match="version 1 has no predecessor"):
        roll_back(NAME, "")


def test_a_version_of_the_development_name_is_copied_with_its_tags(client: MlflowClient) -> None:
    developed = made(client, f"{NAME}.dev")
    mark_challenger(developed)
    served = make_champion(developed, None)
    assert (served.name, served.tags["nic.code"]) == (NAME, "x")
    assert is_same(developed, served)
    assert not is_same(made(client, f"{NAME}.dev"), served)
    assert holders() == ("1", None, None)
    assert holders(f"{NAME}.dev") == (None, None, None)


def test_one_process_at_a_time_moves_the_aliases(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aliases, "LONGEST_WAIT_S", 0.3)
    inside, leave = Event(), Event()

    def hold() -> None:
        with locked_aliases(NAME):
            inside.set()
            leave.wait(10)

    holder = Thread(target=hold)
    holder.start()
    assert inside.wait(10)
    with (
        pytest.raises(RegistryError, match=rf"{NAME}\.lock: held by .*pid \d+; .* delete this registered model"),
        locked_aliases(NAME),
    ):
        pass
    leave.set()
    holder.join()
    with locked_aliases(NAME):  # free again
        pass


def test_a_process_that_died_with_the_lock_is_named_and_the_champion_stays(
    store: str, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = made(client), made(client)
    make_champion(first, None)
    dies = (
        f"import os\nfrom nic.tracking.aliases import locked_aliases\nwith locked_aliases({NAME!r}):\n    os._exit(9)"
    )
    environment = {**os.environ, "MLFLOW_TRACKING_URI": store}
    dead = subprocess.run([sys.executable, "-c", dies], env=environment, cwd=PROJECT)
    assert dead.returncode == 9
    monkeypatch.setattr(aliases, "LONGEST_WAIT_S", 0.3)
    with pytest.raises(RegistryError, match="if that process has ended, delete this registered model"):
        make_champion(second, instead_of=first)
    assert holders() == ("1", None, None)
    client.delete_registered_model(f"{NAME}.lock")
    make_champion(second, instead_of=first)
    assert holders() == ("2", "1", None)


def test_a_process_that_was_taken_for_dead_keeps_off_the_lock_of_another(client: MlflowClient) -> None:
    lock = f"{NAME}.lock"
    with locked_aliases(NAME):
        client.delete_registered_model(lock)
        client.create_registered_model(lock, tags={"token": "another"})
    assert client.get_registered_model(lock).tags["token"] == "another"


def test_a_failure_releases_the_lock(client: MlflowClient) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), locked_aliases(NAME):
            _ = 1 / 0


def test_of_two_promotions_at_once_one_succeeds(client: MlflowClient) -> None:
    """Ten races of threads here; test_registry_story.py runs fifty of processes on each kind of store."""
    champion: RegisteredVersion | None = None
    won = []
    for _ in range(10):
        rivals = [made(client), made(client)]
        with ThreadPoolExecutor(2) as threads:
            outcomes = [threads.submit(make_champion, rival, champion) for rival in rivals]
        winners = [future.result() for future in outcomes if future.exception() is None]
        assert len(winners) == 1
        assert all(isinstance(f.exception(), Overtaken) for f in outcomes if f.exception())
        champion = winners[0]
        assert alias_version(NAME, CHAMPION) == champion
        won.append(champion.version)
    assert all(int(before) < int(after) for before, after in pairwise(won))
    assert holders()[1] == won[-2]
