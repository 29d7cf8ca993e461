"""deploy/: compose requires every secret, pins agree, and its commands run here without a container."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import mlflow
import pytest
import yaml
from conftest import tissue_image, write_slide
from served_files import write_graphs
from stores import free_port, listening, postgresql

from nic.encoder.loading import load_encoder
from nic.stages.companions import write_reference
from nic.tracking.aliases import make_champion
from nic.tracking.registry import CHAMPION, register_patient_model
from nic.tracking.source_digest import PROJECT

DEPLOY = PROJECT / "deploy"
ASKED = re.compile(r"\$\{(\w+):\?[^}]*\}")
BINARIES = Path(sys.executable).parent


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    return found


def entrypoint(dockerfile: Path) -> list[str]:
    lines = [line for line in dockerfile.read_text().splitlines() if line.startswith("ENTRYPOINT")]
    found: list[str] = json.loads(lines[-1].removeprefix("ENTRYPOINT"))
    return found


def test_compose_requires_every_secret_and_contains_none() -> None:
    asked = set(ASKED.findall((DEPLOY / "compose.yaml").read_text()))
    offered = dict(re.findall(r"^(\w+)=(.*)$", (DEPLOY / "env.example").read_text(), re.MULTILINE))
    assert asked == set(offered)
    secrets = {name: value for name, value in offered.items() if "PASSWORD" in name or "TOKEN" in name}
    assert len(secrets) == 3
    assert not any(secrets.values())


def test_no_port_is_open_to_the_network() -> None:
    ports = [port for service in services().values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_tracking_server_is_the_mlflow_of_the_project() -> None:
    pins = (PROJECT / "requirements.txt").read_text().splitlines()
    server = (DEPLOY / "tracking" / "requirements.txt").read_text().splitlines()
    assert [line for line in server if line.startswith("mlflow==")] == [p for p in pins if p.startswith("mlflow==")]


def test_the_served_container_has_no_access_log_and_writes_to_one_folder_only() -> None:
    served = services()["served"]
    assert "--no-access-log" in served["entrypoint"]
    assert served["read_only"]
    writable = {volume.split(":")[-1] for volume in served["volumes"] if not volume.endswith(":ro")}
    assert {str(Path(served["environment"]["NIC_ANSWERS_LOG"]).parent)} == writable


def test_the_memory_of_the_served_container_adds_up() -> None:
    served = services()["served"]
    number = {name: int(value) for name, value in served["environment"].items() if str(value).isdigit()}
    readers = number["NIC_READERS"] + number["NIC_AT_ONCE"] + 1  # as nic.serving.row_reader starts them
    temporary = 2048
    assert "size=2g" in served["tmpfs"][0]
    wanted = readers * number["NIC_READER_MB"] + number["NIC_MEMORY_MB"] + temporary + 1024
    assert wanted <= int(served["mem_limit"].removesuffix("g")) * 1024


def settled(service: Mapping[str, Any], moved: Mapping[str, str]) -> dict[str, str]:
    """A service's environment with all that is asked for, and with what is elsewhere when no container is round it."""
    environment = {}
    for name, value in service["environment"].items():
        text = ASKED.sub("secret", value)
        for there, here in moved.items():
            text = re.sub(rf"{re.escape(there)}(?![\w.])", lambda _, here=here: here, text)  # whole names alone
        environment[name] = text
    return environment


@pytest.mark.slow
def test_the_commands_of_compose_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL and an S3 (moto's in place of MinIO), the tracking server between, and the model that it gave."""
    compose, tracking_port, served_port, store_port = services(), *(str(free_port()) for _ in range(3))
    store = f"http://127.0.0.1:{store_port}"
    moto = [str(BINARIES / "moto_server"), "-p", store_port]
    with postgresql() as database, listening(moto, store, tmp_path / "store.log", {}):
        moved = {
            "postgresql+psycopg2://mlflow:secret@database:5432/mlflow": database,
            "http://store:9000": store,
            ":5000": f":{tracking_port}",
        }
        environment = settled(compose["tracking"], moved)
        for _ in range(2):  # the second time it is there
            made = [sys.executable, str(DEPLOY / "tracking" / "make_bucket.py"), compose["bucket"]["entrypoint"][-1]]
            subprocess.run(made, check=True, env={**os.environ, **settled(compose["bucket"], moved)})
        program, *options = entrypoint(DEPLOY / "tracking" / "Dockerfile")
        command = [str(BINARIES / program), *(o.replace("5000", tracking_port) for o in options), "--workers", "1"]
        uri = f"http://127.0.0.1:{tracking_port}"
        with listening(command, f"{uri}/health", tmp_path / "tracking.log", environment):
            with pytest.raises(HTTPError, match="403"):
                urlopen(Request(f"{uri}/ajax-api/2.0/mlflow/experiments/search", headers={"Host": "elsewhere.org"}))
            context = _image_of_a_champion(uri, tmp_path, monkeypatch)
    _serve_and_ask(compose["served"], context, tmp_path, served_port)


def _image_of_a_champion(uri: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `make image` writes, of a model that went through the server and the store."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    write_graphs(folder)
    with mlflow.start_run():
        graphs = folder / "encoder.onnx", folder / "patient.onnx"
        # The server does not start without a reference that it can answer.
        reference = write_reference(folder / "reference", *graphs, load_encoder(graphs[0]).spec)
        version = register_patient_model("nic-score", *graphs, {}, {"reference": reference})
    make_champion(version, None)
    make = (PROJECT / "Makefile").read_text()
    recipe = re.search(r"^\tmlflow (models generate-dockerfile .*)$", make, re.MULTILINE)
    assert recipe
    line = (
        recipe[1].replace("$(MODEL)", f"models:/nic-score@{CHAMPION}").replace("deploy/served", str(folder / "image"))
    )
    subprocess.run([str(BINARIES / "mlflow"), *line.split()], check=True)
    mlflow.set_tracking_uri(before)
    dockerfile = (folder / "image" / "Dockerfile").read_text()
    assert "COPY model_dir /opt/ml/model" in dockerfile
    assert dockerfile.startswith("# Build an image that can serve mlflow models.\nFROM python:3.11")
    return folder / "image" / "model_dir"


def _serve_and_ask(service: Mapping[str, Any], model: Path, folder: Path, port: str) -> None:
    (folder / "slides").mkdir()
    slide = write_slide(folder / "slides" / "a.tif", tissue_image(900, 800))
    places = {"/opt/ml/model": str(model), "/slides": str(folder / "slides"), "/answers": str(folder / "answers")}
    environment = settled(service, places)
    program, *options = service["entrypoint"]
    command = [str(BINARIES / program), *(o.replace("8080", port) for o in options)]
    uri = f"http://127.0.0.1:{port}"
    with listening(command, f"{uri}/health", folder / "served.log", environment, cwd=folder):
        body = json.dumps({"dataframe_records": [{"slide": str(slide)}]}).encode()
        headers = {"Content-Type": "application/json"}
        with pytest.raises(HTTPError, match="401"):
            urlopen(Request(f"{uri}/invocations", body, headers))
        headers["Authorization"] = f"Bearer {environment['NIC_API_TOKEN']}"
        answer = json.load(urlopen(Request(f"{uri}/invocations", body, headers)))["predictions"][0]
    assert (answer["status"], answer["model"], answer["model_version"]) == ("ok", "nic-score", "1")
    [kept] = (folder / "answers" / "answers.jsonl").read_text().splitlines()
    assert json.loads(kept)["tiles"] == answer["tiles"]
    assert "/invocations" not in (folder / "served.log").read_text()
