"""Slides in a bucket: fetched and compressed once, not fetched again, and named when they cannot be reached."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import PixelEncoder, compress_here, tissue_image, write_slide

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.slide_of_cohort import CompressionOptions
from nic.compression.tiling import Tiling
from nic.patients.cohort_table import read_cohort
from nic.slides.slide import SlideSource
from nic.slides.staging import Staging, find_sources
from nic.tracking.slide_digests import slide_content

boto3, moto_server = (
    pytest.importorskip(name, reason="wants s3fs and moto[server]") for name in ("boto3", "moto.server")
)
s3fs = pytest.importorskip("s3fs")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """s3://slides with a.tif and b.tif, on a server of this machine."""
    server = moto_server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3")
    client.create_bucket(Bucket="slides")
    for seed, name in enumerate("ab"):
        put(client, name, write_slide(tmp_path / f"{name}.tif", tissue_image(700, 600, seed)))
    yield client
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()  # the next server has another port


def put(client: Any, name: str, slide: Path) -> None:
    client.upload_file(str(slide), "slides", f"{name}.tif")


def test_slides_of_a_bucket_are_staged_and_compressed_once(
    bucket: Any, tmp_path: Path, pixel_encoder: PixelEncoder
) -> None:
    staged, out = tmp_path / "staged", tmp_path / "codes"
    how = CompressionOptions(
        staging=Staging(staged, max(p.stat().st_size for p in tmp_path.glob("*.tif")) + 1000)
    )  # room for one
    slides = find_sources("s3://slides")
    assert [slide.uri for slide in slides] == ["s3://slides/a.tif", "s3://slides/b.tif"]
    assert compress_here(slides, pixel_encoder, out, how).compressed == ["a", "b"]
    assert len(list(staged.glob("*/*.tif"))) == 1
    here = compress_here([SlideSource("a", tmp_path / "a.tif")], pixel_encoder, tmp_path / "here")
    assert here.compressed == ["a"]
    ours, theirs = (CompressedSlide.load(folder / "a.h5") for folder in (out, tmp_path / "here"))
    assert (ours.codes == theirs.codes).all()
    assert ours.fingerprint == theirs.fingerprint

    none = Staging(tmp_path / "never", 1)  # nothing fits: a slide that is fetched again would be refused
    assert compress_here(slides, pixel_encoder, out, replace(how, staging=none)).reused == ["a", "b"]
    other = CompressionOptions(Tiling(min_tissue=0.9), staging=none)
    before_all = {file.name: file.read_bytes() for file in out.glob("*.h5")}
    assert [r.reason for r in compress_here(slides, pixel_encoder, out, other).unreached] == ["NotStaged"] * 2
    assert {file.name: file.read_bytes() for file in out.glob("*.h5")} == before_all
    assert sorted(before_all) == ["a.h5", "b.h5"]
    before = slide_content(slides[0])
    put(bucket, "a", write_slide(tmp_path / "a2.tif", tissue_image(700, 600, 7)))
    slides = find_sources("s3://slides")
    assert slide_content(slides[0]) != before
    report = compress_here(slides[:1], pixel_encoder, out, how)
    assert report.compressed == ["a"]
    assert (CompressedSlide.load(out / "a.h5").codes != theirs.codes).any()


@pytest.mark.usefixtures("bucket")
def test_a_slide_that_is_not_in_its_bucket_is_unreached(tmp_path: Path, pixel_encoder: PixelEncoder) -> None:
    table = tmp_path / "cohort.csv"
    table.write_text("patient,slide,split\np1,s3://slides/a.tif,train\np2,s3://slides/gone.tif,train\n")
    slides = [slide for patient in read_cohort(table).patients for slide in patient.slides]
    report = compress_here(
        slides, pixel_encoder, tmp_path / "codes", CompressionOptions(staging=Staging(tmp_path / "staged", 10**9))
    )
    assert report.compressed == ["a"]
    assert [(miss.slide, miss.reason) for miss in report.unreached] == [("gone", "NotStaged")]
    assert not report.quarantined
    assert "gone" in slide_content(slides[1])
