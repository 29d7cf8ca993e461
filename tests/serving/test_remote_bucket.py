"""Rows that name slides in a bucket get those under the prefix, in their current version, within the deadline."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from archive import archive
from conftest import tissue_image, write_slide
from served_files import write_plain_graphs

from nic.serving.cache import CodesCache
from nic.serving.limits import Limits
from nic.serving.remote_slides import RemoteSlides
from nic.serving.served_model import RequestParams, ServedModel

boto3, moto_server, s3fs = (
    pytest.importorskip(name, reason="wants s3fs and moto[server]") for name in ("boto3", "moto.server", "s3fs")
)
SECONDS = 4.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bucket")
    for seed, name in enumerate("ab"):
        write_slide(folder / f"{name}.tif", tissue_image(900, 800, seed))
    write_plain_graphs(folder)
    return folder


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Credentials in the environment, as of a server."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    yield monkeypatch
    s3fs.S3FileSystem.clear_instance_cache()  # the next server has another port


@pytest.fixture
def bucket(store: pytest.MonkeyPatch, folder: Path) -> Iterator[Any]:
    """s3://slides with tcga/a.tif, secret/b.tif and tcga-secret/b.tif, on a server of this machine."""
    server = moto_server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    store.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    client = boto3.client("s3")
    client.create_bucket(Bucket="slides")
    for name in ("tcga/a", "secret/b", "tcga-secret/b", "tcga/folder.svs/b"):
        client.upload_file(str(folder / f"{name[-1]}.tif"), "slides", f"{name}.tif")
    yield client
    server.stop()


def loaded(folder: Path, place: Path) -> ServedModel:
    files = {"patient": folder / "patient.onnx", "encoder": folder / "encoder.onnx"}
    elsewhere = RemoteSlides.from_environment(place / "staged", {"NIC_SLIDE_URIS": "s3://slides/tcga/"})
    limits = Limits((folder,), seconds=SECONDS, untrusted=False, readers=0)
    return ServedModel.load(files, CodesCache(place / "cache", 1 << 30), limits, "nic-score", "7", elsewhere)


def ask(model: ServedModel, *places: str) -> list[dict[str, Any]]:
    """One answer a slide."""
    rows = pd.DataFrame({"slide": places, "patient": [str(number) for number in range(len(places))]})
    answers: list[dict[str, Any]] = model.answer(rows, RequestParams()).to_dict("records")
    return answers


def test_a_slide_in_a_bucket_is_fetched_again_when_it_has_changed(bucket: Any, folder: Path, tmp_path: Path) -> None:
    model = loaded(folder, tmp_path)
    [there] = ask(model, "s3://slides/tcga/a.tif")
    [here] = ask(model, str(folder / "a.tif"))
    assert there == here
    [staged] = (tmp_path / "staged").glob("*/*")
    staged.unlink()
    assert ask(model, "s3://slides/tcga/a.tif") == [there]
    assert not list((tmp_path / "staged").glob("*/*"))  # its codes are cached
    bucket.upload_file(str(folder / "b.tif"), "slides", "tcga/a.tif")
    assert ask(model, "s3://slides/tcga/a.tif")[0]["prediction"] == ask(model, str(folder / "b.tif"))[0]["prediction"]


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("s3://slides/secret/b.tif", "OutsideRoots"),
        ("s3://slides/tcga-secret/b.tif", "OutsideRoots"),
        ("s3://slides/tcga/../secret/b.tif", "OutsideRoots"),
        ("s3://slides/tcga/%2e%2e/secret/b.tif", "OutsideRoots"),
        ("s3://slides/tcga//a.tif", "OutsideRoots"),
        ("s3://slides/tcga/a.tif?versionId=null", "OutsideRoots"),
        ("s3a://slides/tcga/a.tif", "OutsideRoots"),
        ("s3://testing:testing@slides/tcga/a.tif", "OutsideRoots"),
        ("simplecache::s3://slides/tcga/a.tif", "OutsideRoots"),
        ("s3://others/tcga/a.tif", "OutsideRoots"),
        ("s3://slides/tcga/gone.tif", "NotStaged: slide 1: cannot be fetched (FileNotFoundError)"),
        ("s3://slides/tcga/folder.svs", "NotStaged: slide 1: its store states neither a tag nor a date"),
    ],
)
def test_a_bad_row_fails_alone_and_reveals_no_address(folder: Path, tmp_path: Path, place: str, reason: str) -> None:
    bad, good = ask(loaded(folder, tmp_path), place, "s3://slides/tcga/a.tif")
    assert good["status"] == "ok"
    assert bad["reason"].startswith(reason)
    assert not any(secret in bad["reason"] for secret in ("slides/", "tcga", "secret", "testing", "127.0.0.1"))


@pytest.mark.parametrize("name", ["silent.tif", "stalling.tif", "dripping.tif"])
def test_a_slow_store_is_given_up_at_the_deadline(
    store: pytest.MonkeyPatch, folder: Path, tmp_path: Path, name: str
) -> None:
    with archive(tmp_path) as site:
        store.setenv("AWS_ENDPOINT_URL", site.url)
        begun = time.monotonic()
        [answer] = ask(loaded(folder, tmp_path), f"s3://slides/tcga/{name}")
        assert time.monotonic() - begun < SECONDS + 2
        assert {line.split()[1] for line in site.requests} == {f"/slides/tcga/{name}"}
    assert answer["reason"].startswith("NotStaged: slide 1: not fetched in time")
