"""Tracking stores for tests: a file, MLflow's server, PostgreSQL behind it; and any other process on a port."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest
from made_once import made_once
from mlflow.tracking import MlflowClient

POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


def new_store(folder: Path) -> str:
    """URI of a new SQLite store in a folder: a copy of an empty one, since making its tables takes seconds."""
    empty = made_once("empty-store", _make_tables) / "mlflow.db"
    return f"sqlite:///{shutil.copyfile(empty, folder / 'mlflow.db')}"


def _make_tables(folder: Path) -> None:
    MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_experiments()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def listening(
    command: Sequence[str], url: str, log: Path, environment: Mapping[str, str], cwd: Path | None = None
) -> Iterator[None]:
    """A process that runs during the block, which begins when its URL answers, with any status."""
    with log.open("w") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, start_new_session=True, env={**os.environ, **environment}, cwd=cwd
        )
    try:
        _wait_for(url, log, process)
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 15)
            process.wait(60)


def _wait_for(url: str, log: Path, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        try:
            urlopen(url, timeout=5)
            return
        except HTTPError:
            return
        except (URLError, OSError):
            if process.poll() is not None:
                break
            time.sleep(0.2)
    raise TimeoutError(log.read_text()[-2000:])


@contextmanager
def mlflow_server(folder: Path, backend: str) -> Iterator[str]:
    """`mlflow server` with one worker; its URI."""
    uri = f"http://127.0.0.1:{free_port()}"
    options = ["--backend-store-uri", backend, "--artifacts-destination", str(folder / "artifacts"), "--workers", "1"]
    command = [sys.executable, "-m", "mlflow", "server", *options, "--port", uri.rpartition(":")[2]]
    idle = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # no processes for jobs, which tests do not use
    with listening(command, f"{uri}/health", folder / "server.log", idle):
        yield uri


@contextmanager
def postgresql() -> Iterator[str]:
    """URI of a new database. Root starts it as the user postgres, since PostgreSQL does not run as root."""
    if not POSTGRES:
        pytest.skip("no PostgreSQL here; apt-get install postgresql")
    pytest.importorskip("psycopg2")
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    # Not below pytest's folder, which other users cannot read.
    with TemporaryDirectory(prefix="nic-postgres-") as folder:
        data, port = Path(folder) / "data", free_port()
        if as_user:
            shutil.chown(folder, "postgres")

        def call(program: str, *options: str) -> None:
            command = [*as_user, str(POSTGRES[-1].with_name(program)), "-D", str(data), *options]
            subprocess.run(command, check=True, cwd="/")

        call("initdb", "-A", "trust", "-U", "nic")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        call("pg_ctl", "-w", "-o", options, "-l", f"{folder}/log", "start")
        try:
            yield f"postgresql+psycopg2://nic@127.0.0.1:{port}/postgres"
        finally:
            call("pg_ctl", "-w", "-m", "immediate", "stop")
