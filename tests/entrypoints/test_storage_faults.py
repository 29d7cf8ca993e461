"""Faults of a share, a disk or a bucket: the codes of a finished cohort stay, and the exit code is 1."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from conftest import tissue_image, write_slide

from nic.encoder.encoder_graph import export_encoder
from nic.encoder.network import TileEncoder

pytestmark = pytest.mark.slow  # each step starts an entry point

ROOT = Path(__file__).resolve().parents[2]
COUNT = 20
NO_LOCKS = """#include <errno.h>
int flock(int fd, int operation) { (void)fd; (void)operation; errno = ENOLCK; return -1; }
"""


@dataclass
class Cohort:
    """A finished compression. before: sha256 of each file of codes."""

    folder: Path
    options: dict[str, str] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)

    def table(self, *more: str) -> None:
        slides = [f"slides/s{number:02}.tif" for number in range(COUNT)]
        rows = [f"p{number},{slide},train" for number, slide in enumerate([*slides, *more])]
        (self.folder / "cohort.csv").write_text("\n".join(["patient,slide,split", *rows]) + "\n")

    def compress(
        self, user: int = 0, env: dict[str, str] | None = None, **options: str
    ) -> subprocess.CompletedProcess[str]:
        chosen = {"slides": "cohort.csv", "encoder": "encoder.onnx", "out": "codes", **self.options, **options}
        arguments = [text for name, value in chosen.items() for text in (f"--{name}", value)]
        command = [sys.executable, "-m", "entrypoints.compress", *arguments]
        if user:
            command = ["setpriv", f"--reuid={user}", "--clear-groups", f"--regid={user}", *command]
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.folder}/store/mlflow.db",
            "HOME": str(self.folder / "store"),
            **(env or {}),
        }
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=600)

    def digests(self) -> dict[str, str]:
        return {
            f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted((self.folder / "codes").glob("*.h5"))
        }

    def check_kept(self, run: subprocess.CompletedProcess[str], reason: str) -> None:
        """All codes are as before; one sentence says why the run failed."""
        after = self.digests()
        assert {name: after.get(name) for name in self.before} == self.before
        assert run.returncode != 0, run.stdout
        assert "Traceback" not in run.stderr, run.stderr[-3000:]
        sentence = run.stderr.strip().splitlines()[-1]
        assert reason in sentence, run.stderr[-3000:]
        assert "run again" in sentence


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder = tmp_path_factory.mktemp("cohort")
    for name in ("slides", "store", "masks"):
        (folder / name).mkdir()
    for number in range(COUNT):
        write_slide(folder / "slides" / f"s{number:02}.tif", tissue_image(500, 400, seed=number))
        shutil.copy(ROOT / "docs" / "phantom.png", folder / "masks" / f"s{number:02}.png")
    write_slide(folder / "new.tif", tissue_image(700, 600, seed=99))
    export_encoder(TileEncoder(), "random", [], folder / "encoder.onnx", np.zeros((2, 64, 64, 3), np.uint8))
    made = Cohort(folder)
    made.table()
    run = made.compress()
    assert run.returncode == 0, run.stderr[-3000:]
    made.before = made.digests()
    assert len(made.before) == COUNT
    return made


@pytest.fixture
def one_more(cohort: Cohort) -> Iterator[Cohort]:
    """With a new slide in the table."""
    cohort.table("new.tif")
    yield cohort
    cohort.table()


def test_without_locks_all_are_reused(cohort: Cohort) -> None:
    if not shutil.which("gcc"):
        pytest.skip("wants gcc, to break flock")
    (cohort.folder / "locks.c").write_text(NO_LOCKS)
    library = cohort.folder / "locks.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, cohort.folder / "locks.c"], check=True)
    run = cohort.compress(env={"LD_PRELOAD": str(library)})
    assert run.returncode == 0, run.stderr[-3000:]
    assert f"0 compressed, {COUNT} reused" in run.stdout
    assert cohort.digests() == cohort.before


def test_the_folder_of_slides_is_away(one_more: Cohort) -> None:
    slides = one_more.folder / "slides"
    slides.rename(one_more.folder / "away")
    try:
        one_more.check_kept(one_more.compress(), "no such file")
    finally:
        (one_more.folder / "away").rename(slides)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="wants root, to become another user")
def test_another_user_may_not_read_them(one_more: Cohort) -> None:
    folder, nobody = one_more.folder, 65534
    places = [folder, *folder.parents]
    modes = {place: place.stat().st_mode for place in places if place.stat().st_uid == 0 and place != Path("/")}
    try:
        for place in modes:
            place.chmod(0o777 if place == folder else place.stat().st_mode | 0o055)
        for own in (folder / "codes", folder / "store", folder / "mlruns"):
            for place in (own, *own.rglob("*")):
                os.chown(place, nobody, nobody)
        (folder / "slides").chmod(0o700)
        run = one_more.compress(user=nobody)
        if "entrypoints" in run.stderr and "No module" in run.stderr:
            pytest.skip("another user cannot read the project")
        one_more.check_kept(run, "Permission denied")
    finally:
        for place, mode in modes.items():
            place.chmod(mode)
        (folder / "slides").chmod(0o755)


@pytest.mark.skipif(os.geteuid() != 0, reason="wants root, to mount a small disk")
def test_the_disk_is_full(one_more: Cohort) -> None:
    codes, kept = one_more.folder / "codes", one_more.folder / "kept"
    codes.rename(kept)
    codes.mkdir()
    shutil.rmtree(kept / ".unreached", ignore_errors=True)  # records that go would make room
    size = sum(-(-f.stat().st_size // 4096) * 4096 for f in kept.rglob("*") if f.is_file())
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size + 8192}", "tmpfs", str(codes)]
    if subprocess.run(mount, capture_output=True).returncode:
        codes.rmdir()
        kept.rename(codes)
        pytest.skip("may not mount")
    try:
        shutil.copytree(kept, codes, dirs_exist_ok=True)
        one_more.check_kept(one_more.compress(), "No space left on device")
        assert not list(codes.rglob("*.draft"))
        subprocess.run(["mount", "-o", "remount,size=50m", str(codes)], check=True)
        run = one_more.compress()
        assert run.returncode == 0, run.stderr[-3000:]
        assert f"1 compressed, {COUNT} reused" in run.stdout
    finally:
        subprocess.run(["umount", str(codes)], check=True)
        codes.rmdir()
        kept.rename(codes)


def test_the_folder_of_masks_is_empty(one_more: Cohort) -> None:
    (one_more.folder / "nothing").mkdir(exist_ok=True)
    one_more.check_kept(one_more.compress(tissue="nothing"), "no mask of any slide")


def test_the_bucket_refuses(one_more: Cohort) -> None:
    """The new slide alone lies in a bucket that nobody answers for."""
    pytest.importorskip("s3fs")
    one_more.table("s3://bucket/new.tif")
    env = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "expired",
        "AWS_SECRET_ACCESS_KEY": "expired",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }
    run = one_more.compress(env=env)
    one_more.check_kept(run, "NotStaged" if "NotStaged" in run.stderr else "new")
    assert f"{COUNT} reused, 0 in quarantine, 1 unreached" in run.stdout
    assert "new" in (one_more.folder / "codes" / "unreached.csv").read_text()
