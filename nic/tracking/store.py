"""The tracking store as others see it: whether it answers, and each of its failures in one sentence."""

import errno
import logging
import os
import re
import shlex
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import mlflow
import requests
import sqlalchemy
from mlflow.exceptions import InvalidUrlException, MlflowException, RestException
from mlflow.tracking import MlflowClient

from nic.errors import StoreUnreached

RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
LOCAL_PAGES = "http://127.0.0.1:5000"
"""Where `mlflow ui` shows its pages."""
AS_TRAINING = "?workflowType=machine_learning"
"""Ending of an address that makes MLflow's pages show trainings; a new browser would show language models' traces."""
LOCKED_S = 20
"""Seconds to wait for a database that others have locked; MLflow waits as long."""
LONGEST_REASON = 300
"""Characters of a store's own words."""
BUCKETS = ("botocore", "boto3", "s3transfer", "azure", "google")
"""Packages whose errors come from a store of artifacts."""

GONE = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")
"""MLflow's error codes for something that does not exist."""
OF_THE_STORE = {
    "UNAUTHENTICATED": 401,
    "CUSTOMER_UNAUTHORIZED": 401,
    "PERMISSION_DENIED": 403,
    "ENDPOINT_NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "REQUEST_LIMIT_EXCEEDED": 429,
    "TEMPORARILY_UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""MLflow's error codes for a failure of the store, with the HTTP status of each; other codes are for wrong requests."""

SERVER_REMEDIES = {
    401: "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    403: "ask its operator for permission; a server also refuses host names that are not in its --allowed-hosts",
    404: "see that MLFLOW_TRACKING_URI is the address of an MLflow server",
    407: "see that the proxy in HTTPS_PROXY accepts this user",
    429: "wait, and run again",
}
START = "start it, or set MLFLOW_TRACKING_URI to one that runs"
LOOK_INTO_LOG = "see its log, and run again when it answers"
HOST_REMEDIES = {
    "refused": START,
    "resolve": "see that the name in MLFLOW_TRACKING_URI is right, and that this machine has a network",
    "resolution": "see that the name in MLFLOW_TRACKING_URI is right, and that this machine has a network",
    "timed out": "see that this machine reaches it (proxy, firewall)",
    "certificate": "name the authority that signed it in MLFLOW_TRACKING_SERVER_CERT_PATH",
    "ssl": "see whether its address begins with http:// or https://",
    "proxy": "see HTTP_PROXY, HTTPS_PROXY and NO_PROXY",
}
DATABASE_REMEDIES = {
    "locked": "end the process that writes to it, or run `mlflow server` on it and set MLFLOW_TRACKING_URI to that",
    "locking protocol": "its folder has no file locks: keep it on a local disk, or run `mlflow server`",
    "unable to open": "see that its folder is there and that this user may write to it",
    "readonly": "see that this user may write to it and to its folder",
    "disk is full": "free space on its disk",
    "disk i/o": "see that its disk is there and has space",
    "not a database": "set MLFLOW_TRACKING_URI to the right file, or bring it back from a copy",
    "malformed": "it is damaged: bring it back from a copy",
    "no such table": "it is incomplete: move it away, or bring it back from a copy",
    "already exists": "two processes made it at once: run again",
    "duplicate column": "two processes made it at once: move it away and run again",
    "refused": "start it, and see that host and port in MLFLOW_TRACKING_URI are right",
    "authentication": "see that user and password in MLFLOW_TRACKING_URI are right",
    "translate host": "see that the host in MLFLOW_TRACKING_URI is right",
}
OTHER_STORE = "see that MLFLOW_TRACKING_URI is absolute: sqlite:///mlflow.db is another store in each folder"
IN_FILES = "filesystem tracking backend"
"""Part of the message with which MLflow refuses a folder of files as a store."""

CAUSED_BY = re.compile(r"Caused by \w+\([\"']?(?:<[^>]*>: |\w+\([^)]*\): )?(.*?)[\"']?\)+$", re.DOTALL)


def ask_store() -> None:
    """Raises StoreUnreached when runs or registered models cannot be looked up, or a new store cannot be made."""
    logging.getLogger("mlflow.store.db.utils").addFilter(_in_one_line)
    try:
        if _can_be_made(uri := mlflow.get_tracking_uri()):
            return
        _try_database(uri)
        with _few_retries():
            client = MlflowClient()
            client.search_experiments(max_results=1)
            client.search_registered_models(max_results=1)
    except StoreUnreached:
        raise
    except Exception as error:  # any error is the store's: nothing else was called
        raise unreached(error) or StoreUnreached(f"{_store()}: {_words(error)}; {_other_remedy(error)}") from error


def _can_be_made(uri: str) -> bool:
    """Whether this is a SQLite file that does not exist yet and can be made. Raises StoreUnreached where it cannot."""
    file = _sqlite_file(uri)
    if not file or Path(file).exists():
        return False
    folder = next(parent for parent in Path(file).absolute().parents if parent.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        remedy = DATABASE_REMEDIES["unable to open"]
        raise StoreUnreached(f"database of {_store()}: cannot be made in {folder}; {remedy}")
    return True


def _sqlite_file(uri: str) -> str | None:
    return sqlalchemy.make_url(uri).database if uri.startswith("sqlite") else None


def _other_remedy(error: Exception) -> str:
    if isinstance(error, ImportError):
        return "install that driver, or name the one that is there, as in postgresql+psycopg2://"
    return "see that MLFLOW_TRACKING_URI is right"


def _in_one_line(record: logging.LogRecord) -> bool:
    """Drop the traceback from what MLflow logs of a database; the same error is raised as well."""
    record.exc_info = None
    return True


def _try_database(uri: str) -> None:
    """Connect once, and begin to write to a SQLite file. MLflow itself would try for minutes."""
    if file := _sqlite_file(uri):
        with closing(sqlite3.connect(file, timeout=LOCKED_S)) as connection:
            connection.execute("BEGIN IMMEDIATE")
    elif uri.partition("+")[0].partition(":")[0] in DATABASES:
        engine = sqlalchemy.create_engine(uri)
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql("SELECT 1")
        finally:
            engine.dispose()


@contextmanager
def _few_retries() -> Iterator[None]:
    """Fewer retries than MLflow's four minutes, which are right in a long training and wrong before the work begins."""
    before = os.environ.get(RETRIES)
    os.environ[RETRIES] = "1" if before != "0" else "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[RETRIES]
        else:
            os.environ[RETRIES] = before


def unreached(error: BaseException) -> StoreUnreached | None:
    """The failure of the store behind an error of MLflow, its client, its database or its bucket; None without one."""
    chain = list(_chain(error))
    for sentence in (_of_files, _of_database, _of_host, _of_server, _of_bucket):
        for link in chain:
            if text := sentence(link):
                return StoreUnreached(text)
    return None


def leaves_open(error: Exception) -> bool:
    """Whether the store or the disk failed, so that what was looked up may exist all the same."""
    if isinstance(error, MlflowException) and error.error_code in GONE:
        return False
    if isinstance(error, requests.HTTPError) and error.response is not None and error.response.status_code == 404:
        return False
    of_disk = isinstance(error, OSError) and error.errno not in (None, errno.ENOENT, errno.ENOTDIR)
    return of_disk or unreached(error) is not None


@contextmanager
def kept_on_disk(stage: str, outputs: Iterable[str]) -> Iterator[None]:
    """Around the last entries of a run: when the store fails now, raises StoreUnreached that names the kept outputs."""
    try:
        yield
    except Exception as error:
        if not (failure := unreached(error)):
            raise
        kept = ", ".join(outputs)
        work = f"{stage} ended well and {kept} is kept" if kept else f"{stage} ended well"
        raise StoreUnreached(f"{failure}. {work}, but the run does not record it; run again") from error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes; MLflow often leaves out `from`."""
    link: BaseException | None = error
    while link is not None:
        yield link
        without_from = isinstance(link, MlflowException | requests.RequestException)
        link = link.__cause__ or (link.__context__ if without_from else None)


def _of_files(error: BaseException) -> str | None:
    if not (isinstance(error, MlflowException) and IN_FILES in str(error)):
        return None
    return (
        f"{_store()}: MLflow keeps runs in a database, not in a folder of files; set "
        "MLFLOW_TRACKING_URI=sqlite:////<folder>/mlflow.db (`mlflow migrate-filestore` brings old runs there)"
    )


def _of_database(error: BaseException) -> str | None:
    """A statement that the database does not understand is a fault of the program, not of the store."""
    if isinstance(error, sqlalchemy.exc.DBAPIError):
        failed = isinstance(error, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError)
        own = error.orig if failed or type(error) is sqlalchemy.exc.DatabaseError else None
    else:
        own = error if isinstance(error, sqlite3.DatabaseError) else None
    return (
        _sentence(f"database of {_store()}", own, DATABASE_REMEDIES, "see that it is there and whole") if own else None
    )


def _of_host(error: BaseException) -> str | None:
    """No answer, or only failures."""
    if isinstance(error, InvalidUrlException):
        return f"{_store()}: no address; set MLFLOW_TRACKING_URI to one like http://host:5000"
    if isinstance(error, requests.exceptions.RetryError):
        status = re.search(r"too many (\d+) error", str(error))
        return _of_status(int(status[1]) if status else 503, "")
    if not isinstance(error, requests.RequestException):
        return None
    if error.response is not None:
        return _of_status(error.response.status_code, error.response.text)
    if isinstance(error, requests.Timeout):
        return f"{_store()}: no answer in time; {HOST_REMEDIES['timed out']}, or raise MLFLOW_HTTP_REQUEST_TIMEOUT"
    return _sentence(_store(), error, HOST_REMEDIES, START)


def _of_server(error: BaseException) -> str | None:
    """An answer with an error, or from something that is no MLflow server."""
    if not isinstance(error, MlflowException):
        return None
    text = str(error)
    if status := re.search(r"failed with error code (\d+) != \d+\. Response body: '(.*)", text, re.DOTALL):
        return _of_status(int(status[1]), status[2].rstrip("'"))
    if "not in a valid JSON format" in text:
        return f"{_store()}: the server that answers is no MLflow server; {SERVER_REMEDIES[404]}"
    if error.error_code in OF_THE_STORE:
        return _of_status(OF_THE_STORE[error.error_code], text)
    if error.error_code == "RESOURCE_DOES_NOT_EXIST":
        return f"{_store()}: {_words(error)}; {OTHER_STORE}"
    if error.error_code == "INTERNAL_ERROR" and isinstance(error, RestException):
        return _of_status(500, text)
    return None


def _of_status(status: int, words: str) -> str:
    html = words.lstrip().startswith("<")
    reason = f": {_line(words)}" if words and not html else ""
    return f"{_store()}: answers {status}{reason}; {SERVER_REMEDIES.get(status, LOOK_INTO_LOG)}"


def _of_bucket(error: BaseException) -> str | None:
    if type(error).__module__.partition(".")[0] in BUCKETS:
        return f"artifacts of {_store()}: {_words(error)}; see the credentials and the address of its bucket"
    if isinstance(error, ImportError) and error.name in BUCKETS:
        return f"artifacts of {_store()}: lie in a bucket that needs a package; pip install {error.name}"
    return None


def _sentence(what: str, error: BaseException, remedies: dict[str, str], otherwise: str) -> str:
    text = str(error).lower()
    remedy = next((remedy for words, remedy in remedies.items() if words in text), otherwise)
    return f"{what}: {_words(error)}; {remedy}"


def _words(error: BaseException) -> str:
    """A library's own words; of a connection that failed, the innermost reason."""
    reason = CAUSED_BY.search(str(error))
    return _line(reason[1] if reason else str(error)) or type(error).__name__


def _line(text: str) -> str:
    return " ".join(text.split())[:LONGEST_REASON]


def _store() -> str:
    return f"tracking store {_without_password(mlflow.get_tracking_uri())}"


def _without_password(uri: str) -> str:
    parts = urlsplit(uri)
    if not parts.password:
        return uri
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username}@{host}"))


def ways_to_look(run_id: str) -> list[str]:
    """How to open MLflow's pages on this store, and the address of a run's page.

    `mlflow ui` does not read MLFLOW_TRACKING_URI, so its command names the store. A server has an address already.
    """
    uri = mlflow.get_tracking_uri()
    experiment = MlflowClient().get_run(run_id).info.experiment_id
    if uri.startswith(("http://", "https://")):
        address, commands = _without_password(uri).rstrip("/"), []
    else:
        address, commands = LOCAL_PAGES, [f"mlflow ui --backend-store-uri {_named_in_shell(uri)}"]
    return [*commands, f"{address}/#/experiments/{experiment}/runs/{run_id}{AS_TRAINING}"]


def _named_in_shell(uri: str) -> str:
    """The store as an argument of a command: a SQLite file by its absolute path, a password by its variable."""
    if file := _sqlite_file(uri):
        return shlex.quote(f"sqlite:///{Path(file).absolute()}")
    return '"$MLFLOW_TRACKING_URI"' if urlsplit(uri).password else shlex.quote(uri)
