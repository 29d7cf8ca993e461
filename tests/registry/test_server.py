"""The server over real HTTP: whom it lets in, what its errors reveal, what it counts."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import requests
from conftest import tissue_image, write_slide
from prometheus_client.parser import text_string_to_metric_families
from served_files import write_graphs
from stores import new_store

from nic.encoder.loading import load_encoder
from nic.patients.familiarity import Familiarity
from nic.stages.companions import write_reference
from nic.tracking.registry import RegisteredVersion, load_served, register_patient_model

ROOT = Path(__file__).resolve().parents[2]
TOKEN = {"Authorization": "Bearer open sesame"}


@dataclass(frozen=True)
class Served:
    folder: Path
    url: str
    version: RegisteredVersion
    process: subprocess.Popen[str]

    def ask(self, rows: list[dict[str, object]], headers: dict[str, str] = TOKEN) -> requests.Response:
        return requests.post(f"{self.url}/invocations", json={"dataframe_records": rows}, headers=headers, timeout=120)

    def metrics(self) -> dict[str, float]:
        text = requests.get(f"{self.url}/metrics", headers=TOKEN, timeout=60).text
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return {f"{s.name}{sorted(s.labels.values()) or ''}": s.value for s in samples}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "slides").mkdir()
    write_slide(folder / "slides" / "a.tif", tissue_image(900, 800))
    (folder / "slides" / "jane.svs").write_text("no slide")
    (folder / "slides" / "out.tif").symlink_to(ROOT / "README.md")
    write_graphs(folder)
    spec = load_encoder(folder / "encoder.onnx").spec
    Familiarity(np.zeros(spec.code_size), np.eye(spec.code_size), 1e-6).save(folder / "familiarity.npz")
    reference = write_reference(folder / "reference", folder / "encoder.onnx", folder / "patient.onnx", spec)
    store, before = new_store(folder), mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(store)
    experiment = mlflow.create_experiment("served", artifact_location=str(folder / "artifacts"))
    companions = {"familiarity": folder / "familiarity.npz", "reference": reference}
    with mlflow.start_run(experiment_id=experiment):
        graphs = folder / "encoder.onnx", folder / "patient.onnx"
        version = register_patient_model("nic-score", *graphs, {"nic.code": "x"}, companions)
    port = free_port()
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": store,
        "NIC_API_TOKEN": "open sesame",
        "NIC_SLIDE_ROOTS": str(folder / "slides"),
        "NIC_MAX_MB": "1",
        "NIC_ANSWERS_LOG": str(folder / "answers.jsonl"),
    }
    command = [sys.executable, "-m", "registry.server", version.uri, "--port", str(port), "--workers", "2"]
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, text=True)
    url = f"http://127.0.0.1:{port}"
    wait_for(url, process)
    yield Served(folder, url, version, process)
    process.terminate()
    process.wait(60)
    mlflow.set_tracking_uri(before)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def wait_for(url: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if requests.get(f"{url}/health", timeout=60).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.5)
    raise AssertionError("the server did not come up")


def test_only_who_has_the_token_is_answered(served: Served) -> None:
    row: list[dict[str, object]] = [{"slide": str(served.folder / "slides" / "a.tif")}]
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "open sesame"}):
        assert served.ask(row, headers).status_code == 401
        assert requests.get(f"{served.url}/metrics", headers=headers, timeout=60).status_code == 401
    assert requests.get(f"{served.url}/health", timeout=60).status_code == 200
    assert served.ask(row).status_code == 200


def test_answers_are_those_without_a_server(served: Served) -> None:
    rows: list[dict[str, object]] = [{"slide": str(served.folder / "slides" / "a.tif"), "patient": "P"}]
    [answer] = served.ask(rows).json()["predictions"]
    [alone] = load_served(served.version.uri)(pd.DataFrame(rows)).to_dict("records")
    assert answer["prediction"] == pytest.approx(alone["prediction"], abs=1e-5)
    assert answer["status"] == "ok"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("{", "application/json"),
        ("[]", "application/json"),
        ('{"dataframe_records": 5}', "application/json"),
        ('{"dataframe_records": [{"mpp": "jane"}]}', "application/json"),
        ('{"dataframe_records": [{"slide": "jane"}], "params": {"map": "jane"}}', "application/json"),
        ('{"dataframe_records": [{"slide": "jane"}], "params": {"max_tiles": "jane"}}', "application/json"),
        ('{"dataframe_records": [{"slide": "jane"}], "params": {"batch_tiles": 1025}}', "application/json"),
        (json.dumps({"dataframe_records": [{"slide": "jane"}] * 300}), "application/json"),
        ('{"dataframe_records": [{"slid": "jane"}]}', "application/json"),
        ('{"dataframe_records": []}', "application/json"),
        ('{"dataframe_split": {"columns": ["slide"], "data": 5}}', "application/json"),
        ('{"inputs": ["jane"]}', "application/json"),
        ("[" * 100_000, "application/json"),
        ("jane", "application/x-pickle"),
        ("jane", "application/json; charset=jane"),
        ("\xff", "text/csv"),
        ("jane", None),
    ],
)
def test_a_request_that_cannot_be_read_is_told_so_and_no_more(served: Served, body: str, kind: str | None) -> None:
    headers = TOKEN | ({"Content-Type": kind} if kind else {})
    response = requests.post(f"{served.url}/invocations", data=body.encode("latin-1"), headers=headers, timeout=60)
    assert 400 <= response.status_code < 500
    for secret in ("Traceback", "File ", "jane", str(ROOT), str(served.folder), "stack_trace"):
        assert secret not in response.text


def test_a_misspelt_column_is_named_and_a_missing_mpp_asked_for_in_the_row(served: Served) -> None:
    response = served.ask([{"slid": "/x.tif"}])
    assert (response.status_code, response.json()["error"]) == (
        400,
        "no row has a column slide, features or image; the columns are slid (did you mean slide?); "
        "known columns are slide, features, image, patient, mpp",
    )
    write_slide(served.folder / "slides" / "none.tif", tissue_image(300, 300), mpp=None)
    [answer] = served.ask([{"slide": str(served.folder / "slides" / "none.tif")}]).json()["predictions"]
    assert answer["reason"] == "MissingResolution: slide 1: no resolution in the file; give its um/px as mpp in the row"


def test_hostile_rows_are_refused_one_by_one(served: Served) -> None:
    slides = served.folder / "slides"
    places: list[object] = [
        f"{slides}/../mlflow.db",
        f"{slides}/out.tif",
        f"{slides}/a.tif\0.svs",
        f"file://{slides}/a.tif",
        "http://127.0.0.1/a.svs",
        "/etc/passwd",
        f"{slides}/jane.svs",
        "A" * 100_000,
        {"jane": 1},
        ["jane"],
    ]
    rows: list[dict[str, object]] = [{"slide": place, "patient": f"p{n}"} for n, place in enumerate(places)]
    response = served.ask([*rows, {"slide": f"{slides}/a.tif", "patient": "good"}])
    assert response.status_code == 200
    answers = {row["patient"]: row for row in response.json()["predictions"]}
    assert answers.pop("good")["status"] == "ok"
    assert {row["status"] for row in answers.values()} == {"refused"}
    assert "jane" not in response.text
    assert str(served.folder) not in response.text


def test_a_large_body_is_refused(served: Served) -> None:
    response = served.ask([{"image": "A" * (2 << 20), "mpp": 0.5}])
    assert response.status_code == 413
    assert "in parts" in response.text


def test_what_was_asked_is_counted_over_all_workers_and_logged_without_names(served: Served) -> None:
    slides, before = served.folder / "slides", served.metrics()
    rows: list[dict[str, object]] = [{"slide": f"{slides}/a.tif", "patient": "Roe"}, {"slide": f"{slides}/jane.svs"}]
    tiles = [sum(row["tiles"] for row in served.ask(rows).json()["predictions"]) for _ in range(6)]
    served.ask([{"slide": 1}] * 300)
    after = served.metrics()
    more = {name: after[name] - before.get(name, 0.0) for name in after}
    assert more["nic_requests_total['200']"] == 6
    assert more["nic_requests_total['400']"] == 1
    assert more["nic_request_seconds_count"] == 7
    assert more["nic_patients_total['ok']"] == more["nic_patients_total['refused']"] == 6
    assert more["nic_tiles_total"] == sum(tiles) > 0
    assert more["nic_out_of_distribution_total"] == 6
    log = (served.folder / "answers.jsonl").read_text()
    assert {json.loads(line)["status"] for line in log.splitlines()} == {"ok", "refused"}
    for text in (log, (served.folder / "log.txt").read_text()):
        assert "Roe" not in text
        assert "jane" not in text
        assert "Traceback" not in text


@pytest.fixture
def proxy(served: Served, tmp_path: Path) -> Iterator[str]:
    """nginx with deploy/nginx.conf before the server, with ports and a certificate of this test."""
    if not (shutil.which("nginx") and shutil.which("openssl")):
        pytest.skip("wants nginx and openssl")
    key, certificate, port = tmp_path / "nic.key", tmp_path / "nic.crt", free_port()
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    site = (ROOT / "deploy" / "nginx.conf").read_text()
    for ours, here in {
        "listen 443": f"listen 127.0.0.1:{port}",
        "/etc/nginx/tls/nic.crt": str(certificate),
        "/etc/nginx/tls/nic.key": str(key),
        "127.0.0.1:8080": served.url.removeprefix("http://"),
    }.items():
        assert ours in site
        site = site.replace(ours, here)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds)
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid; error_log {tmp_path}/errors; events {{}} http {{ {temporary} {site} }}"
    )
    nginx = ["nginx", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
    subprocess.run([*nginx, "-t"], check=True, capture_output=True)
    process = subprocess.Popen([*nginx, "-g", "daemon off;"])
    url = f"https://127.0.0.1:{port}"
    while process.poll() is None:
        try:
            requests.get(f"{url}/health", verify=certificate, timeout=10)
        except requests.exceptions.SSLError:
            break  # TLS works; the certificate has another name than this address
        except requests.ConnectionError:
            time.sleep(0.05)
    yield url
    process.terminate()
    process.wait(30)


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_behind_nginx_only_answers_and_health_are_to_be_had(served: Served, proxy: str) -> None:
    def status(method: str, path: str, headers: dict[str, str] = TOKEN) -> int:
        body = {"dataframe_records": [{"slide": str(served.folder / "slides" / "a.tif")}]}
        answer = requests.request(method, proxy + path, json=body, headers=headers, verify=False, timeout=60)
        return answer.status_code

    assert status("GET", "/health", {}) == 200
    assert status("POST", "/invocations") == 200
    assert status("POST", "/invocations", {}) == 401
    assert status("GET", "/invocations") == 403
    for hidden in ("/metrics", "/version", "/docs", "/openapi.json"):
        assert status("GET", hidden) == 404
