"""Remote slides: listed, fetched once into a bounded folder, and fetched again when they have changed."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest
from archive import archive

from nic.errors import NotStaged, UnreadableSlide
from nic.shared_files import locked
from nic.slides.slide import SlideSource
from nic.slides.staging import Staging, find_sources, version_of


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    """A store of fsspec that lives in memory, with three slides of 1,000 bytes."""
    system = fsspec.filesystem("memory")
    for name in "abc":
        system.pipe(f"/slides/{name}.svs", name.encode() * 1000)
    system.pipe("/slides/notes.txt", b"no slide")
    yield system
    system.rm("/slides", recursive=True)


def at(name: str) -> SlideSource:
    return SlideSource.remote(f"memory://slides/{name}.svs", 0.5)


def staged(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*/*"))


@pytest.mark.usefixtures("store")
def test_slides_of_an_address_a_folder_and_a_glob_are_found() -> None:
    assert [s.slide_id for s in find_sources("memory://slides/a.svs")] == ["a"]
    assert [(s.slide_id, s.uri) for s in find_sources("memory://slides")] == [
        (name, f"memory:///slides/{name}.svs") for name in "abc"
    ]
    assert [s.slide_id for s in find_sources("memory://slides/[ab].*")] == ["a", "b"]


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("where", ["memory://slides/*.tif", "memory://elsewhere"])
def test_an_address_without_slides_is_refused(where: str) -> None:
    with pytest.raises((UnreadableSlide, NotStaged), match=r"slides|elsewhere"):
        find_sources(where)


def test_a_slide_is_fetched_once_and_again_when_it_has_changed(
    store: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    staging = Staging(tmp_path, 10_000)
    with staging.local(at("a")) as local:
        assert (local.slide_id, local.mpp, local.uri) == ("a", 0.5, "")
        assert local.path.read_bytes() == b"a" * 1000
        local.path.write_bytes(b"same file")
    with staging.local(at("a")) as local:
        assert local.path.read_bytes() == b"same file"
    store.pipe("/slides/a.svs", b"new")
    with staging.local(at("a")) as local:
        assert local.path.read_bytes() == b"new"


@pytest.mark.usefixtures("store")
def test_the_least_recently_used_copies_are_removed(tmp_path: Path) -> None:
    staging = Staging(tmp_path, 2500)
    for name in ("a", "b", "a", "c"):
        with staging.local(at(name)):
            assert sum(path.stat().st_size for path in tmp_path.glob("*/*")) <= 2500
        time.sleep(0.02)  # dates of files are coarse
    assert staged(tmp_path) == ["a.svs", "c.svs"]


@pytest.mark.usefixtures("store")
def test_a_slide_in_use_stays_and_the_next_waits_for_room(tmp_path: Path) -> None:
    staging, began, ended = Staging(tmp_path, 1500), threading.Event(), threading.Event()

    def other() -> None:
        began.set()
        with staging.local(at("b")) as local:
            assert local.path.is_file()
        ended.set()

    with staging.local(at("a")) as local:
        thread = threading.Thread(target=other)
        thread.start()
        began.wait()
        assert not ended.wait(0.6)
        assert local.path.is_file()
    thread.join(10)
    assert ended.is_set()
    assert staged(tmp_path) == ["b.svs"]


@pytest.mark.usefixtures("store")
def test_leftovers_of_a_dead_run_are_removed(tmp_path: Path) -> None:
    staging = Staging(tmp_path, 1500)
    with staging.local(at("a")) as local:
        folder = local.path.parent
    (folder / "a.svs").rename(folder / ".draft")
    (folder / ".room").write_bytes(b"0" * 1000)
    with staging.local(at("b")):
        assert staged(tmp_path) == ["b.svs"]
    with staging.local(at("a")) as local:
        assert local.path.read_bytes() == b"a" * 1000
    assert staged(tmp_path) == ["a.svs"]


@pytest.mark.usefixtures("store")
def test_slides_that_cannot_be_fetched_are_named(tmp_path: Path) -> None:
    for source, most, wrong in [
        (at("none"), 10_000, "none: "),
        (at("a"), 100, "1000 bytes"),
        (SlideSource.remote("memory://slides/many.mrxs"), 10_000, "several files"),
        (SlideSource.remote("nowhere://slides/a.svs"), 10_000, "nowhere"),
    ]:
        with pytest.raises(NotStaged, match=wrong), Staging(tmp_path, most).local(source):
            pass
    assert not staged(tmp_path)


@pytest.mark.usefixtures("store")
def test_waiting_ends_at_the_deadline(tmp_path: Path) -> None:
    staging = Staging(tmp_path, 1500)

    def late(name: str) -> str:
        with pytest.raises(NotStaged) as refused, staging.local(at(name), time.monotonic() + 0.3):
            pass
        return str(refused.value)

    with staging.local(at("a")), ThreadPoolExecutor(2) as threads:
        assert list(threads.map(late, "ab")) == [
            "a: not fetched in time; another process is fetching it",
            "b: no room in time; all staged slides are in use",
        ]
    assert staged(tmp_path) == ["a.svs"]


@pytest.mark.usefixtures("store")
def test_a_copy_that_vanishes_while_room_is_counted_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "gone.svs").symlink_to(tmp_path / "nowhere")  # listed, but missing
    with Staging(tmp_path, 1500).local(at("a")) as local:
        assert local.path.read_bytes() == b"a" * 1000


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("sizeless", "does not state a size"),
        ("changing", "changed while it was fetched"),
        ("endless", "more came than the 1000 bytes"),
        ("short", "10 of 1000 bytes came"),
    ],
)
def test_a_web_server_that_lies_fills_no_folder(tmp_path: Path, name: str, wrong: str) -> None:
    pytest.importorskip("aiohttp")
    with archive(tmp_path / "site") as site:
        source = SlideSource.remote(f"{site.url}/{name}.svs")
        with pytest.raises(NotStaged, match=wrong), Staging(tmp_path / "staged", 10_000).local(source):
            pass
    assert not staged(tmp_path / "staged")


def test_a_slow_web_server_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    with archive(tmp_path / "site") as site:
        for name in ("silent", "stalling", "dripping"):
            source, begun = SlideSource.remote(f"{site.url}/{name}.svs"), time.monotonic()
            with (
                pytest.raises(NotStaged, match="not fetched in time"),
                Staging(tmp_path / "staged", 10_000).local(source, begun + 0.5),
            ):
                pass
            assert time.monotonic() < begun + 3
    assert not staged(tmp_path / "staged")


def test_a_local_slide_is_not_copied(tmp_path: Path) -> None:
    source = SlideSource("a", tmp_path / "a.svs")
    with Staging(tmp_path / "staged", 1).local(source) as local:
        assert local is source
    assert not (tmp_path / "staged").exists()


def test_a_web_server_is_a_store(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.svs").write_bytes(b"a" * 1000)

    class Site(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path / "site"))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    source = SlideSource.remote(f"http://127.0.0.1:{server.server_port}/a.svs?token=1")
    try:
        before = version_of(source)
        with Staging(tmp_path / "staged", 10_000).local(source) as local:
            assert (local.slide_id, local.path.read_bytes()) == ("a", b"a" * 1000)
        (tmp_path / "site" / "a.svs").write_bytes(b"a" * 1001)
        assert version_of(source) != before
        assert version_of(replace(source, mpp=1.0)) == version_of(source)
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_runs_wait_for_one_another_on_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def no_lock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_lock)
    staging = Staging(tmp_path, 1500)

    def late(name: str) -> str:
        with pytest.raises(NotStaged) as error, staging.local(at(name), time.monotonic() + 0.3):
            pass
        return str(error.value)

    with staging.local(at("a")), ThreadPoolExecutor(2) as threads:
        assert list(threads.map(late, "ab")) == [
            "a: not fetched in time; another process is fetching it",
            "b: no room in time; all staged slides are in use",
        ]
    with staging.local(at("b")) as local:
        assert local.path.read_bytes() == b"b" * 1000
    assert staged(tmp_path) == ["b.svs"]


def test_a_lock_file_of_a_dead_process_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = f"""
import errno, fcntl, os
from pathlib import Path
def no_lock(*_): raise OSError(errno.ENOLCK, "none")
fcntl.flock = no_lock
from nic.shared_files import locked
with locked(Path({str(tmp_path / "a.lock")!r}), 5):
    os._exit(1)
"""
    subprocess.run([sys.executable, "-c", holder], cwd=Path(__file__).parents[2], check=False)
    assert (tmp_path / "a.lock.soft").exists()

    def no_lock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "none")

    monkeypatch.setattr(fcntl, "flock", no_lock)
    with locked(tmp_path / "a.lock", 20):
        pass
