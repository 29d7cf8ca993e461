"""The command line: booleans as people write them, and what is not the program's fault in one sentence."""

import errno
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import h5py
import pytest
import requests
import yaml
from mlflow.exceptions import MlflowException

from entrypoints.cli import launch, names_in, parsed
from nic.errors import CohortError, StoreUnreached, UnreadableSlide
from nic.system_errors import sentence_of

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Config:
    out: Path = Path("out")
    """A folder."""
    strict: bool = False
    """A boolean."""
    folds: int = 5
    """A whole number."""


@pytest.mark.parametrize(
    ("text", "value"),
    [(t, True) for t in ("true", "True", "TRUE", "yes", "1")] + [(t, False) for t in ("false", "False", "no", "0")],
)
def test_booleans_are_taken_as_people_write_them(text: str, value: bool) -> None:
    assert parsed(Config, ["--strict", text]).strict is value


def test_another_word_is_no_boolean(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(Config, ["--strict", "maybe"])
    shown = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "'maybe' is not a boolean; write one of true, yes, 1, false, no, 0" in shown


@pytest.mark.parametrize(("text", "value"), [("5", 5), ("5.0", 5), ("1e3", 1000), ("-1", -1), (" 7 ", 7), ("0.0", 0)])
def test_whole_numbers_are_taken_as_mlflow_gives_them(text: str, value: int) -> None:
    folds = parsed(Config, ["--folds", text]).folds
    assert (folds, type(folds)) == (value, int)


@pytest.mark.parametrize("text", ["5.5", "five", "nan", "inf", "1.2.3", ""])
def test_another_number_is_no_whole_number(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(Config, ["--folds", text])
    shown = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert f"{text!r} is not a whole number; write digits, such as 5 (5.0 is accepted, too)" in shown


ENTRY_POINTS = list(yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"])


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_every_entry_point_takes_booleans_and_whole_numbers_in_each_spelling(name: str) -> None:
    config_type = import_module(f"entrypoints.{name}").Config
    types = get_type_hints(config_type)
    required = [field.name for field in fields(config_type) if field.default is MISSING]
    words = [word for name in required for word in (option(name), first(types[name]))]
    spellings: dict[type, tuple[str, object]] = {bool: ("yes", True), int: ("3.0", 3)}
    for field_name, kind in types.items():
        if kind in spellings:
            text, value = spellings[kind]
            assert getattr(parsed(config_type, [*words, option(field_name), text]), field_name) == value


def option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def first(kind: Any) -> str:
    """A text of this type: the first of a Literal's."""
    return str(get_args(kind)[0]) if get_origin(kind) is Literal else "x"


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """launch changes what this process does when it is asked to stop."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def raising(error: BaseException) -> Callable[[Config], None]:
    def run(config: Config) -> None:
        """Fail."""
        raise error

    return run


def ended(error: BaseException, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What is on standard error when an entry point ends with this error and exit code 1."""
    monkeypatch.setattr(sys, "argv", ["entry-point"])
    monkeypatch.setenv("PATH", os.environ["PATH"])
    with pytest.raises(SystemExit) as end:
        launch(raising(error), Config, needs_store=False)
    assert end.value.code == 1
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (CohortError("c.csv: no"), "CohortError: c.csv: no\n"),
        (UnreadableSlide("a.svs: cut"), "UnreadableSlide: a.svs: cut\n"),
        (PermissionError(errno.EACCES, "no", "/data"), "PermissionError: /data: Permission denied; take a place that"),
        (OSError(errno.ENOSPC, "full", Path("/data/a.h5")), "OSError: /data/a.h5: No space left on device; free space"),
        (OSError(errno.EROFS, "ro", "/mnt"), "OSError: /mnt: Read-only file system; take a place that can be written"),
        (OSError(errno.ESTALE, "stale"), "OSError: Stale file handle (stale); the share is away; mount it again\n"),
        (FileNotFoundError(errno.ENOENT, "no", "answers.jsonl"), "FileNotFoundError: answers.jsonl: No such file"),
        (requests.ConnectionError("Connection refused"), "StoreUnreached: tracking store "),
    ],
)
def test_what_is_wrong_outside_ends_in_a_sentence(
    error: Exception, sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = ended(error, capsys, monkeypatch)
    assert shown.startswith(sentence)
    assert shown.count("\n") == 1


@pytest.mark.parametrize("error", [KeyError("k"), OSError("picture"), MlflowException("Run is already active")])
def test_a_fault_of_the_program_keeps_its_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    error.__context__ = CohortError("c.csv: no patients")  # it came while that was dealt with
    monkeypatch.setattr(sys, "argv", ["entry-point"])
    monkeypatch.setenv("PATH", os.environ["PATH"])
    with pytest.raises(type(error)):
        launch(raising(error), Config, needs_store=False)


def test_what_is_stopped_ends_in_a_sentence_and_as_a_shell_expects(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["entry-point"])
    monkeypatch.setenv("PATH", os.environ["PATH"])
    with pytest.raises(SystemExit) as end:
        launch(raising(KeyboardInterrupt()), Config, needs_store=False)
    assert end.value.code == 130
    assert capsys.readouterr().err.endswith("was stopped; the same command goes on from what is finished\n")


def test_a_refusal_is_not_hidden_by_the_store_that_fails_after_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = requests.ConnectionError("Connection refused")
    error.__context__ = CohortError("c.csv: no patients")
    first, second = ended(error, capsys, monkeypatch).splitlines()
    assert first == "CohortError: c.csv: no patients"
    assert second.startswith("StoreUnreached: ")
    error.__context__ = StoreUnreached("down. codes are kept")
    assert ended(error, capsys, monkeypatch) == "StoreUnreached: down. codes are kept\n"


def test_hdf5_says_a_full_disk_in_its_text_alone() -> None:
    # As h5py 3.16 raises it from a write on a full disk.
    text = "Can't synchronously write data (file write failed: errno = 28, error message = 'No space left on device')"
    sentence = sentence_of(OSError(text))
    assert sentence == f"OSError: No space left on device ({text}); free space there, or take another disk"
    assert sentence_of(OSError("cannot identify image file")) is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_and_a_missing_folder_as_they_are_raised(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as full:
        Path("/dev/full").write_text("codes")
    assert "free space there" in str(sentence_of(full.value))
    with pytest.raises(OSError, match="create file") as missing:
        h5py.File(tmp_path / "gone" / "a.h5", "w")
    assert "see that the path is right" in str(sentence_of(missing.value))


def test_another_python_says_what_it_lacks() -> None:
    command = [sys.executable, "-S", "-m", "entrypoints.status"]  # -S: without installed packages
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ended.returncode == 1
    assert "no mlflow, numpy, torch, tyro here; make .venv" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_server_that_is_down_is_said_before_the_work(tmp_path: Path) -> None:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    command = shlex.split(f"{sys.executable} -m entrypoints.make_phantom --out {tmp_path}/phantom")
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert ended.returncode == 1
    assert "Connection refused; start it" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list(tmp_path.iterdir())


def test_names_stand_between_commas() -> None:
    assert names_in("grid-cnn, pooled-linear") == ["grid-cnn", "pooled-linear"]
    assert names_in("") == names_in(" , ") == []
