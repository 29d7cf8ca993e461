"""A store that fails gives one sentence: where it is, what is wrong, what to do; never a password."""

import errno
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import mlflow
import pytest
import requests
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import ErrorCode
from mlflow.tracking import MlflowClient
from stores import free_port, new_store

from nic.errors import StoreUnreached
from nic.tracking import store
from nic.tracking.registry import find_version
from nic.tracking.runs import find_run, stage_run
from nic.tracking.store import ask_store, leaves_open, unreached, ways_to_look


@pytest.fixture(autouse=True)
def uri_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = mlflow.get_tracking_uri()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    yield
    mlflow.set_tracking_uri(before)


def refusal(uri: str) -> str:
    mlflow.set_tracking_uri(uri)
    with pytest.raises(StoreUnreached) as refused:
        ask_store()
    return str(refused.value)


@contextmanager
def answering(status: int, body: str) -> Iterator[str]:
    """A web server that gives everybody the same answer; its address."""

    class Same(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Same)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (401, "who are you", "answers 401: who are you; set MLFLOW_TRACKING_USERNAME"),
        (403, "Invalid Host header", "answers 403: Invalid Host header; ask its operator .* --allowed-hosts"),
        (403, '{"error_code": "PERMISSION_DENIED", "message": "no"}', "answers 403: PERMISSION_DENIED: no; ask"),
        (404, "<html>nothing here", "answers 404; see that MLFLOW_TRACKING_URI is the address of an MLflow server"),
        (500, "oops", "answers 500.*; see its log"),
        (502, "<html>bad gateway", "answers 502; see its log"),
        (200, "<html>welcome", "is no MLflow server"),
    ],
)
def test_a_server_that_refuses(status: int, body: str, sentence: str) -> None:
    with answering(status, body) as uri:
        text = refusal(uri)
        assert uri in text
    assert "<html>" not in text
    assert re.search(sentence, text), text


def test_a_server_that_is_down() -> None:
    address = f"127.0.0.1:{free_port()}"
    text = refusal(f"http://nurse:secret@{address}")
    assert text.startswith(f"tracking store http://nurse@{address}: ")
    assert re.search("Connection refused; start it, or set MLFLOW_TRACKING_URI", text)
    assert "secret" not in text


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("http://no.such.host.invalid:5000", "resolve 'no.such.host.invalid'.*; see that the name"),
        ("http:/host", "no address; set MLFLOW_TRACKING_URI to one like http://host:5000"),
        ("nonsense://x", "unsupported URI.*; see that MLFLOW_TRACKING_URI is right"),
        (
            "postgresql+psycopg2://nic:secret@127.0.0.1:9/x",
            r"nic@127.0.0.1:9/x: .*(refused|No module)",
        ),
    ],
)
def test_an_address_that_leads_nowhere(uri: str, sentence: str) -> None:
    text = refusal(uri)
    assert re.search(sentence, text), text
    assert "secret" not in text


@pytest.mark.parametrize("scheme", ["file://", ""])
def test_a_folder_of_files_is_no_store(scheme: str, tmp_path: Path) -> None:
    assert "in a database, not in a folder of files" in refusal(f"{scheme}{tmp_path}/mlruns")


def test_a_damaged_database_or_another_file(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("patient,slide\n" * 100)
    text = refusal(f"sqlite:///{tmp_path}/text.db")
    assert re.search("file is not a database; set MLFLOW_TRACKING_URI to the right file", text)
    with closing(sqlite3.connect(tmp_path / "torn.db")) as database:
        database.execute("create table runs (cell)")
        database.executemany("insert into runs values (?)", [("x" * 4000,)] * 9)
        database.commit()
    content = (tmp_path / "torn.db").read_bytes()
    (tmp_path / "torn.db").write_bytes(content[: len(content) // 2])
    assert "bring it back from a copy" in refusal(f"sqlite:///{tmp_path}/torn.db")


def test_a_database_that_another_program_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LOCKED_S", 0.1)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as holder:
        holder.execute("create table t(x)")
        holder.commit()
        holder.execute("begin exclusive")
        assert "database is locked; end the process that writes to it" in refusal(f"sqlite:///{tmp_path}/mlflow.db")


def test_a_folder_without_permission_to_write(tmp_path: Path) -> None:
    (tmp_path / "closed").touch()  # a file where a folder would be: refused to root too
    text = refusal(f"sqlite:///{tmp_path}/closed/mlflow.db")
    assert f"cannot be made in {tmp_path}/closed; see that its folder is there" in text


def test_a_store_that_does_not_exist_yet_is_accepted(tmp_path: Path) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/new/mlflow.db")
    ask_store()
    assert not list(tmp_path.iterdir())


def test_a_fault_of_the_program_is_not_the_stores() -> None:
    own = [
        MlflowException("Run with UUID 1 is already active", 1),
        MlflowException.invalid_parameter_value("too long"),
        RestException({"error_code": "RESOURCE_ALREADY_EXISTS", "message": "twice"}),
        KeyError("run"),
        ValueError("run"),
    ]
    assert [unreached(error) for error in own] == [None] * len(own)


def test_a_run_of_another_store() -> None:
    error = unreached(MlflowException("Run 'abc' not found", ErrorCode.Value("RESOURCE_DOES_NOT_EXIST")))
    assert error is not None
    assert re.search("Run 'abc' not found; see that MLFLOW_TRACKING_URI is absolute", str(error))


@dataclass(frozen=True)
class Config:
    slides: str = "a.csv"


def dying_stage(folder: Path) -> None:
    with stage_run("promote", Config(), {}) as stage:
        assert len(list((folder / "runs").glob("*/artifacts/config.json"))) == 1  # before the work
        stage.result.update(outputs=[str(folder / "codes")])
        (folder / "mlflow.db").write_text("overwritten" * 1000)


def test_a_store_that_dies_after_the_work_says_what_is_kept(tmp_path: Path) -> None:
    mlflow.set_tracking_uri(new_store(tmp_path))
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("dies", artifact_location=str(tmp_path / "runs")))
    (tmp_path / "codes").mkdir()
    with pytest.raises(MlflowException) as died:
        dying_stage(tmp_path)
    # MLflow fails to close the run, too, after the sentence for the user.
    behind: list[BaseException] = [died.value]
    while behind[-1].__context__:
        behind.append(behind[-1].__context__)
    [sentence] = [str(error) for error in behind if isinstance(error, StoreUnreached)]
    assert re.search(f"not a database.*promote ended well and {tmp_path}/codes is kept", sentence)


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_a_failing_server_does_not_make_its_models_gone(status: int) -> None:
    with answering(status, "busy") as uri:
        mlflow.set_tracking_uri(uri)
        for look in (lambda: find_run("abc"), lambda: find_version("models:/nic-score/1")):
            with pytest.raises(MlflowException) as failed:
                look()
            assert unreached(failed.value) is not None


def test_an_object_that_does_not_exist_is_gone() -> None:
    with answering(404, '{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no run"}') as uri:
        mlflow.set_tracking_uri(uri)
        assert find_run("abc") is None


@pytest.mark.parametrize(
    ("error", "is_open"),
    [
        (OSError("No such file or directory: runs/1"), False),  # as MLflow raises it of artifacts
        (FileNotFoundError(errno.ENOENT, "no", "runs/1"), False),
        (PermissionError(errno.EACCES, "no", "runs/1"), True),
        (OSError(errno.ENOSPC, "full", "copy"), True),
        (requests.ConnectionError("Connection refused"), True),
    ],
)
def test_files_that_cannot_be_read_now_are_not_gone(error: OSError, is_open: bool) -> None:
    assert leaves_open(error) is is_open


def test_the_printed_ways_to_look_name_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`mlflow ui` does not read MLFLOW_TRACKING_URI."""
    file = Path(new_store(tmp_path).removeprefix("sqlite:///"))
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{file.name}")
    run = MlflowClient().create_run("0").info.run_id
    command, page = ways_to_look(run)
    assert command == f"mlflow ui --backend-store-uri sqlite:///{file}"
    assert page == f"http://127.0.0.1:5000/#/experiments/0/runs/{run}?workflowType=machine_learning"
