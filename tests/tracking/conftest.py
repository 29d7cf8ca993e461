"""A registry for the tests of a module: making its tables takes seconds."""

from collections.abc import Iterator

import mlflow
import pytest
from mlflow.tracking import MlflowClient
from stores import new_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A fresh SQLite store, and an experiment in it that is the active one; its URI."""
    before = mlflow.get_tracking_uri()
    folder = tmp_path_factory.mktemp("store")
    uri = new_store(folder)
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("tests", artifact_location=str(folder / "artifacts")))
    yield uri
    mlflow.set_tracking_uri(before)


@pytest.fixture
def client(store: str) -> Iterator[MlflowClient]:
    """All that a test registers is gone after it."""
    client = MlflowClient()
    yield client
    for model in client.search_registered_models():
        client.delete_registered_model(model.name)
