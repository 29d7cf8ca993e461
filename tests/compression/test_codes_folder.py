"""Many runs on one folder: each slide once, none lost, and a remedy for each slide in quarantine."""

import csv
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import PixelEncoder, compress_here, spoil_tile, tissue_image, write_slide

from nic.compression.codes_folder import CodesFolder
from nic.compression.slide_of_cohort import CompressionOptions
from nic.slides.slide import SlideSource, find_slides

TESTS = Path(__file__).resolve().parents[1]
RUN = """
import json, sys, time
from pathlib import Path
from conftest import PixelEncoder
from nic.compression.compress_cohort import compress_cohort
from nic.slides.slide import find_slides

class Slow(PixelEncoder):
    def encode(self, tiles):
        time.sleep(0.05)
        return super().encode(tiles)

report = compress_cohort(find_slides(sys.argv[1]), Slow(), Path(sys.argv[2]), readers=1)
print(json.dumps([report.compressed, report.reused]))
"""


def start(slides: Path, out: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}"}
    arguments = [sys.executable, "-c", RUN, str(slides), str(out)]
    return subprocess.Popen(arguments, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def children(pid: int) -> list[int]:
    """Processes that a process has started; none where it has ended."""
    try:
        lists = [task / "children" for task in Path(f"/proc/{pid}/task").iterdir()]
        return [int(child) for file in lists for child in file.read_text().split()]
    except FileNotFoundError:
        return []


def made(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        write_slide(folder / f"s{number:02}.tif", tissue_image(700, 600, seed=number))
    return folder


def test_two_runs_at_once_share_the_work(tmp_path: Path) -> None:
    slides, out = made(tmp_path / "slides", 10), tmp_path / "codes"
    reports = [json.loads(run.communicate()[0].splitlines()[-1]) for run in [start(slides, out), start(slides, out)]]
    (done, reused), (others_done, others_reused) = reports
    names = [f"s{number:02}" for number in range(10)]
    assert sorted(done + others_done) == names
    assert sorted(done + reused) == sorted(others_done + others_reused) == names
    assert not list((out / ".claims").iterdir())


def test_a_slide_held_elsewhere_is_waited_for(tmp_path: Path, pixel_encoder: PixelEncoder) -> None:
    slides, out = made(tmp_path / "slides", 2), tmp_path / "codes"
    run = start(slides, out)
    while not (status := CodesFolder(out).status(["s00", "s01", "s02"])).running:
        assert run.poll() is None, run.communicate()[1]
        time.sleep(0.01)
    assert {r.pid for r in status.running} == {run.pid}
    assert status.left[-1:] == ("s02",)
    report = compress_here(find_slides(slides), pixel_encoder, out)
    done, _ = json.loads(run.communicate()[0].splitlines()[-1])
    assert sorted([*report.compressed, *done]) == ["s00", "s01"]
    assert sorted(report.reused) == sorted(done)


def test_the_claim_of_a_run_that_was_killed_is_taken_over(tmp_path: Path, pixel_encoder: PixelEncoder) -> None:
    slides, out = made(tmp_path / "slides", 1), tmp_path / "codes"
    run = start(slides, out)
    while not (out / ".claims" / "s00").exists():
        assert run.poll() is None, run.communicate()[1]
        time.sleep(0.005)
    run.kill()
    run.communicate()
    (out / f".0123.{run.pid}@{socket.gethostname()}.draft").write_bytes(b"half")
    assert compress_here(find_slides(slides), pixel_encoder, out).compressed == ["s00"]
    assert [p.name for p in out.iterdir() if p.is_file()] == ["s00.h5"]


def test_drafts_of_those_that_live_and_of_other_hosts_stay(tmp_path: Path) -> None:
    here, there = f".a.{os.getpid()}@{socket.gethostname()}.draft", ".b.1@elsewhere.draft"
    for name in (here, there):
        (tmp_path / name).write_bytes(b"half")
    CodesFolder(tmp_path).sweep()
    assert sorted(p.name for p in tmp_path.iterdir()) == [here, there]
    os.utime(tmp_path / there, (0, 0))
    CodesFolder(tmp_path).sweep()
    assert [p.name for p in tmp_path.iterdir()] == [here]


def test_a_claim_of_a_run_that_was_killed_before_it_wrote_its_name_is_taken_over(
    tmp_path: Path, pixel_encoder: PixelEncoder
) -> None:
    slides, out = made(tmp_path / "slides", 1), tmp_path / "codes"
    (out / ".claims").mkdir(parents=True)
    (out / ".claims" / "s00").touch()
    assert compress_here(find_slides(slides), pixel_encoder, out).compressed == ["s00"]
    assert not list((out / ".claims").iterdir())


def test_quarantine_says_how_a_slide_gets_out_and_lets_it(tmp_path: Path, pixel_encoder: PixelEncoder) -> None:
    mute = write_slide(tmp_path / "mute.tif", tissue_image(700, 600), mpp=None)
    spoilt = write_slide(tmp_path / "spoilt.tif", tissue_image(700, 600), downsamples=(1,))
    for index in range(6, 18):
        spoil_tile(spoilt, index)
    out, sources = tmp_path / "codes", [SlideSource("mute", mute), SlideSource("spoilt", spoilt)]
    assert len(compress_here(sources, pixel_encoder, out).quarantined) == 2
    with (out / "quarantine.csv").open() as file:
        table = {row["slide"]: row for row in csv.DictReader(file)}
    assert (table["mute"]["reason"], table["spoilt"]["reason"]) == ("MissingResolution", "TooManyFailedCells")
    assert "mpp" in table["mute"]["release"]
    assert "accept" in table["spoilt"]["release"]
    assert [q.slide for q in CodesFolder(out).status(["mute", "spoilt"]).quarantined] == ["mute", "spoilt"]

    mended = [SlideSource("mute", mute, mpp=0.5), sources[1]]
    report = compress_here(mended, pixel_encoder, out, CompressionOptions(accept=["spoilt"]))
    assert (report.compressed, report.quarantined) == (["mute", "spoilt"], [])
    assert not (out / "quarantine.csv").exists()


def test_status_counts_tiles_and_knows_no_speed_when_nothing_runs(tmp_path: Path, pixel_encoder: PixelEncoder) -> None:
    slides, out = made(tmp_path / "slides", 3), tmp_path / "codes"
    compress_here(find_slides(slides), pixel_encoder, out)
    status = CodesFolder(out).status(["s00", "s01", "s02", "s03"])
    assert (len(status.finished), status.left, status.running) == (3, ("s03",), ())
    assert status.tiles > 30
    assert (status.tiles_per_s, status.time_to_go_s) == (0, None)


@pytest.mark.slow
def test_runs_killed_fifty_times_lose_nothing_and_write_nothing_twice(tmp_path: Path) -> None:
    slides = made(tmp_path / "slides", 40)
    quiet, out = tmp_path / "quiet", tmp_path / "codes"
    start(slides, quiet).communicate()
    moments = random.Random(0)
    seen: dict[str, tuple[int, float]] = {}
    runs = [start(slides, out), start(slides, out)]
    for kill in range(50):
        time.sleep(moments.uniform(1, 6))  # a run and its process that reads take some seconds to start
        victim, is_whole = runs[kill % 2], kill % 4 < 2
        if is_whole:
            for reader in children(victim.pid):
                os.kill(reader, signal.SIGKILL)
        else:
            victim.kill()
            victim.communicate()
        for file in out.glob("*.h5"):
            stat = file.stat()
            assert seen.setdefault(file.name, (stat.st_ino, stat.st_mtime)) == (stat.st_ino, stat.st_mtime)
        if len(seen) == 40:  # all done: begin again, so that every kill may hit a slide at work
            assert all((quiet / name).read_bytes() == (out / name).read_bytes() for name in seen)
            out, seen = tmp_path / f"codes{kill}", {}
            runs[1 - kill % 2].communicate()
            if is_whole:
                victim.communicate()
            runs = [start(slides, out), start(slides, out)]
        elif not is_whole:
            runs[kill % 2] = start(slides, out)
    for run in runs:
        run.communicate()
        assert run.returncode == 0
    names = sorted(file.name for file in quiet.glob("*.h5"))
    assert names == sorted(file.name for file in out.glob("*.h5"))
    assert len(names) == 40
    assert all((quiet / name).read_bytes() == (out / name).read_bytes() for name in names)
