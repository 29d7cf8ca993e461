"""The server over HTTP while things go wrong: rows fail alone, the server stays up, its own faults count as 5xx."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import mlflow
import psutil
import pytest
import requests
from conftest import tissue_image, write_slide
from prometheus_client.parser import text_string_to_metric_families
from served_files import codes_file, write_plain_graphs
from stores import free_port, new_store

from nic.serving.operator_log import INTERNAL
from nic.stages.companions import write_reference
from nic.tracking.registry import register_patient_model

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
SECONDS = 20


@dataclass(frozen=True)
class Served:
    folder: Path
    url: str
    process: subprocess.Popen[bytes]

    def ask(self, *rows: dict[str, object], **params: object) -> list[dict[str, Any]]:
        named = [{"patient": f"p{number}", **row} for number, row in enumerate(rows)]
        body = {"dataframe_records": named, "params": params}
        answer = requests.post(f"{self.url}/invocations", json=body, timeout=120)
        assert answer.status_code == 200, answer.text
        assert self.healthy()
        predictions: list[dict[str, Any]] = answer.json()["predictions"]
        return predictions

    def healthy(self) -> bool:
        try:
            return requests.get(f"{self.url}/health", timeout=10).ok
        except requests.ConnectionError:
            return False

    def counted(self, status: int) -> float:
        text = requests.get(f"{self.url}/metrics", timeout=60).text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        [value] = [s.value for s in samples if s.name == "nic_requests_total" and s.labels["status"] == str(status)]
        return float(value)

    def readers(self) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if "nic.slides.reading_process" in " ".join(child.cmdline())]

    def peak_mb(self) -> float:
        """Peak memory of the process that answers."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("faults")
    slides = folder / "slides"
    slides.mkdir()
    spec = write_plain_graphs(folder, code_size=128)
    write_slide(slides / "a.tif", tissue_image(900, 800))
    codes_file(slides / "a.h5", spec, [(0, 0), (1, 1)], (2, 2))
    codes_file(slides / "corners.h5", spec, [(0, 0), (9_999, 9_999)], (10_000, 10_000))
    with h5py.File(shutil.copyfile(slides / "a.h5", slides / "linked.h5"), "a") as file:
        del file["features"]
        file["features"] = h5py.ExternalLink(str(folder / "outside.h5"), "features")
    shutil.copyfile(slides / "a.h5", folder / "outside.h5")
    os.mkfifo(slides / "pipe.h5")
    reference = write_reference(folder / "reference", folder / "encoder.onnx", folder / "patient.onnx", spec)
    store, before = new_store(folder), mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(store)
    experiment = mlflow.create_experiment("faults", artifact_location=str(folder / "artifacts"))
    with mlflow.start_run(experiment_id=experiment):
        graphs = folder / "encoder.onnx", folder / "patient.onnx"
        version = register_patient_model("nic-score", *graphs, {"nic.code": "x"}, {"reference": reference})
    (folder / "tmp").mkdir()
    small = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder / "tmp")]
    mounted = subprocess.run(small, capture_output=True, check=False).returncode == 0
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if name != "NIC_API_TOKEN"} | {
        "MLFLOW_TRACKING_URI": store,
        "NIC_SLIDE_ROOTS": str(slides),
        "NIC_MAX_SECONDS": str(SECONDS),
        "NIC_LOOK_SECONDS": "5",
        "NIC_AT_ONCE": "1",
        "TMPDIR": str(folder / "tmp"),
    }
    command = [sys.executable, "-m", "registry.server", version.uri, "--port", str(port)]
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    server = Served(folder, f"http://127.0.0.1:{port}", process)
    while not server.healthy():
        assert process.poll() is None, (folder / "log.txt").read_text()
        time.sleep(0.5)
    yield server
    process.terminate()
    process.wait(60)
    if mounted:
        subprocess.run(["umount", "--lazy", str(folder / "tmp")], check=True)
    mlflow.set_tracking_uri(before)


def test_hostile_files_of_codes_cost_their_rows_and_no_memory(served: Served) -> None:
    slides, before_mb = served.folder / "slides", served.peak_mb()
    names = ("a.h5", "corners.h5", "linked.h5", "pipe.h5", "a.h5")
    good, corners, linked, pipe, again = served.ask(*({"features": str(slides / name)} for name in names))
    assert (good["status"], again["status"]) == ("ok", "ok")
    assert "codes spread over 10000 x 10000 cells" in corners["reason"]
    assert "features is a link" in linked["reason"]
    assert "a pipe" in pipe["reason"]
    print(f"peak memory of the server: {served.peak_mb():.0f} MB; before the hostile files {before_mb:.0f} MB")
    assert served.peak_mb() - before_mb < 150
    assert (served.counted(500), served.counted(200)) == (0, 1)  # also with a single worker


def test_a_stopped_reader_costs_a_row_and_the_next_is_answered(served: Served) -> None:
    row: dict[str, object] = {"slide": str(served.folder / "slides" / "a.tif")}
    assert served.ask(row)[0]["status"] == "ok"
    readers = served.readers()
    assert readers
    for reader in readers:
        os.kill(reader.pid, signal.SIGSTOP)
    start = time.monotonic()
    with ThreadPoolExecutor(1) as threads:
        stopped = threads.submit(served.ask, row)
        while not stopped.done():
            assert served.healthy()
            time.sleep(0.5)
    assert stopped.result()[0]["status"] == "refused"
    assert "UnreachedSlide" in stopped.result()[0]["reason"]
    assert time.monotonic() - start < SECONDS
    until = time.monotonic() + 60
    while served.ask(row)[0]["status"] != "ok" and time.monotonic() < until:  # the opening processes take turns
        pass
    assert served.ask(row)[0]["status"] == "ok"
    for reader in served.readers():  # those that had no job meanwhile
        os.kill(reader.pid, signal.SIGCONT)


def test_256_rows_of_codes_past_the_deadline_end_there(served: Served) -> None:
    wide = served.folder / "slides" / "wide.h5"
    codes_file(wide, write_plain_graphs(served.folder / "graphs", 128), [(0, 0), (599, 599)], (600, 600))
    start = time.monotonic()
    answers = served.ask(*({"features": str(wide)} for _ in range(256)), map="geojson")
    took = time.monotonic() - start
    print(f"256 rows: {took:.1f} s, {sum(a['status'] == 'ok' for a in answers)} answered; {served.peak_mb():.0f} MB")
    assert len(answers) == 256
    assert took < SECONDS + 10
    late = [answer for answer in answers if answer["status"] != "ok"]
    assert all("not done in time" in answer["reason"] for answer in late)


def test_a_full_disk_is_the_servers_fault_and_costs_the_rows_that_need_it(served: Served) -> None:
    """A real one: the small file system for temporary files is filled."""
    slides, before = served.folder / "slides", served.counted(500)
    if not (served.folder / "tmp").is_mount():
        pytest.skip("wants to mount a small file system")
    write_slide(slides / "new.tif", tissue_image(900, 800, seed=5))
    new: dict[str, object] = {"slide": str(slides / "new.tif")}
    filler = served.folder / "tmp" / "filler"
    with filler.open("wb", buffering=0) as content, suppress(OSError):
        while content.write(bytes(4096)):
            pass
    bad, outside = served.ask(new, {"slide": "/etc/passwd"})
    filler.unlink()
    assert (bad["status"], bad["reason"]) == ("refused", INTERNAL)
    assert outside["reason"].startswith("OutsideRoots")
    assert served.counted(500) == before + 1
    log = (served.folder / "log.txt").read_text()
    assert "a row was refused: " in log
    assert "new.tif" not in log
    assert served.ask(new)[0]["status"] == "ok"
