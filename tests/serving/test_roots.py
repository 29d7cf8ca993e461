"""Only files under the roots are opened, however they are named."""

import os
from pathlib import Path

import pytest

from nic.errors import OutsideRoots, UnreadableSlide
from nic.serving.roots import path_of, resolve


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    (tmp_path / "slides" / "deep").mkdir(parents=True)
    (tmp_path / "slides" / "a.svs").touch()
    (tmp_path / "secret.svs").touch()
    (tmp_path / "slides-of-others").mkdir()
    (tmp_path / "slides" / "out.svs").symlink_to(tmp_path / "secret.svs")
    (tmp_path / "slides" / "in.svs").symlink_to(tmp_path / "slides" / "a.svs")
    (tmp_path / "slides" / "folder").symlink_to(tmp_path)
    return tmp_path / "slides"


@pytest.mark.parametrize("name", ["a.svs", "in.svs", "deep/../a.svs", "not-there.svs"])
def test_paths_under_a_root_are_resolved(roots: Path, name: str) -> None:
    assert resolve(path_of(str(roots / name)), (roots,)).parent == roots


@pytest.mark.parametrize(
    "place",
    [
        "{}/../secret.svs",
        "{}/out.svs",
        "{}/folder/secret.svs",
        "{}-of-others/b.svs",
        "/etc/passwd",
        "file://{}/a.svs",
        "http://127.0.0.1/a.svs",
        "s3://bucket/a.svs",
        "{}/a.svs\0.txt",
        "a.svs",
    ],
)
def test_other_paths_are_refused(roots: Path, place: str) -> None:
    with pytest.raises(OutsideRoots) as refused:
        resolve(path_of(place.format(roots)), (roots,))
    assert str(roots.parent) not in str(refused.value)


def test_circular_symlinks_and_long_names_are_refused(roots: Path) -> None:
    (roots / "one.svs").symlink_to(roots / "two.svs")
    (roots / "two.svs").symlink_to(roots / "one.svs")
    for name in ("one.svs", "x" * 300, "x" * 5000):
        with pytest.raises(OutsideRoots):
            resolve(path_of(str(roots / name)), (roots,))


@pytest.mark.parametrize("name", ["pipe.svs", "pipe.h5", "device.svs"])
def test_a_pipe_or_a_device_is_refused_without_blocking(roots: Path, name: str) -> None:
    os.mkfifo(roots / "pipe.svs")
    os.mkfifo(roots / "pipe.h5")
    (roots / "device.svs").symlink_to("/dev/zero")
    with pytest.raises(UnreadableSlide, match="wanted a file"):
        resolve(roots / name, (roots, Path("/dev")))


def vms(image: str, group: str = "Virtual Microscope Specimen") -> str:
    return f"[{group}]\nNoLayers=1\n ImageFile = whole.jpg\nImageFile(1,0)={image}\nMapFile=map.jpg\n"


@pytest.mark.parametrize("name", ["a.vms", "a.vmu", "a.svs"])  # OpenSlide recognises them by content
@pytest.mark.parametrize("image", ["../secret.svs", "deep/../../secret.svs", "..", "out.svs", r"..\secret.svs", "pipe"])
def test_a_hamamatsu_slide_may_only_name_files_of_its_own_folder(roots: Path, name: str, image: str) -> None:
    os.mkfifo(roots / "pipe")
    (roots / name).write_text(vms("image.jpg"))
    assert resolve(roots / name, (roots,)) == roots / name
    group = "Uncompressed Virtual Microscope Specimen" if name == "a.vmu" else "Virtual Microscope Specimen"
    (roots / name).write_text(vms(image, group))
    with pytest.raises((OutsideRoots, UnreadableSlide)) as refused:
        resolve(roots / name, (roots,))
    assert str(roots.parent) not in str(refused.value)


@pytest.mark.parametrize("line", ["INDEXFILE = ../../secret.svs", "FILE_0=/etc/passwd", "FILE_12 = data.dat"])
def test_a_mirax_slide_may_only_name_files_of_its_own_folder(roots: Path, line: str) -> None:
    (roots / "a.mrxs").write_bytes(b"\xff\xd8")
    (roots / "a").mkdir()
    (roots / "a" / "Slidedat.ini").write_text("[GENERAL]\nSLIDE_ID=1\n[DATAFILE]\nFILE_0=Data0000.dat\n")
    assert resolve(roots / "a.mrxs", (roots,)) == roots / "a.mrxs"
    (roots / "a" / "data.dat").symlink_to(roots.parent / "secret.svs")
    (roots / "a" / "Slidedat.ini").write_text(f"[DATAFILE]\n{line}\n")
    with pytest.raises(OutsideRoots):
        resolve(roots / "a.mrxs", (roots,))


def test_a_mirax_folder_that_lies_outside_is_refused(roots: Path) -> None:
    (roots / "a.mrxs").write_bytes(b"\xff\xd8")
    (roots.parent / "others").mkdir()
    (roots / "a").symlink_to(roots.parent / "others")
    with pytest.raises(OutsideRoots):
        resolve(roots / "a.mrxs", (roots,))


def test_a_dicom_series_with_a_file_outside_is_refused(roots: Path) -> None:
    series = roots / "series"
    series.mkdir()
    (series / "0.dcm").write_bytes(bytes(128) + b"DICM")
    for place in (series, series / "0.dcm"):
        assert resolve(place, (roots,)) == place
    (series / "1.dcm").symlink_to(roots.parent / "secret.svs")
    for place in (series, series / "0.dcm"):
        with pytest.raises(OutsideRoots):
            resolve(place, (roots,))


@pytest.mark.parametrize("beside", ["a.Full", "a.svs-journal", "a.svs-wal"])
def test_companion_files_outside_the_roots_are_refused(roots: Path, beside: str) -> None:
    (roots / beside).symlink_to(roots.parent / "secret.svs")
    with pytest.raises(OutsideRoots):
        resolve(roots / "a.svs", (roots,))
