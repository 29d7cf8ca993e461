"""Slides that rows name by address: no server is asked unless the operator allows it, and none leads elsewhere."""

import importlib.util
import json
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest
from archive import Archive, archive
from conftest import tissue_image, write_slide
from fsspec.implementations.http import HTTPFileSystem
from served_files import write_plain_graphs

from nic.errors import MissingExtra, SettingError
from nic.serving.cache import CodesCache
from nic.serving.limits import Limits
from nic.serving.remote_slides import RemoteSlides
from nic.serving.served_model import RequestParams, ServedModel

STRANGER = "Jane_Roe_1931"
SECONDS = 2.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere")
    for seed, name in enumerate(("a", "b", STRANGER)):
        write_slide(folder / f"{name}.tif", tissue_image(900, 800, seed))
    write_plain_graphs(folder)
    return folder


@pytest.fixture
def site(folder: Path, tmp_path: Path) -> Iterator[Archive]:
    """/wsi/a.tif, misbehaving files, and /secret/Jane_Roe_1931.tif, which must not be read."""
    wsi, secret = tmp_path / "site" / "wsi", tmp_path / "site" / "secret"
    for place in (wsi, secret):
        place.mkdir(parents=True)
    shutil.copy(folder / "a.tif", wsi / "a.tif")
    shutil.copy(folder / f"{STRANGER}.tif", secret / f"{STRANGER}.tif")
    (wsi / "text.svs").write_text("no slide")
    with archive(tmp_path / "site") as site:
        yield site
    HTTPFileSystem.clear_instance_cache()


@pytest.fixture
def model(folder: Path, site: Archive, tmp_path: Path) -> ServedModel:
    return loaded(folder, tmp_path, f"{site.url}/wsi/", Limits((folder,), untrusted=False, readers=0))


def loaded(folder: Path, place: Path, prefixes: str, limits: Limits, **environ: str) -> ServedModel:
    files = {"patient": folder / "patient.onnx", "encoder": folder / "encoder.onnx"}
    elsewhere = RemoteSlides.from_environment(place / "staged", {"NIC_SLIDE_URIS": prefixes, **environ})
    return ServedModel.load(files, CodesCache(place / "cache", 1 << 30), limits, "nic-score", "7", elsewhere)


def ask(model: ServedModel, *rows: dict[str, object]) -> list[dict[str, Any]]:
    """One answer a row."""
    named = [{**row, "patient": str(number)} for number, row in enumerate(rows)]
    answers: list[dict[str, Any]] = model.answer(pd.DataFrame(named), RequestParams()).to_dict("records")
    json.dumps(answers, allow_nan=False)
    return answers


def fetched(site: Archive) -> list[str]:
    return [line for line in site.requests if line.startswith("GET")]


@pytest.mark.parametrize("untrusted", [False, True])
def test_a_slide_at_an_address_is_answered_as_on_this_machine(
    folder: Path, site: Archive, tmp_path: Path, untrusted: bool
) -> None:
    model = loaded(folder, tmp_path, f"s3://others {site.url}/wsi", Limits((folder,), untrusted=untrusted))
    there, here = ask(model, {"slide": f"{site.url}/wsi/a.tif"}, {"slide": str(folder / "a.tif")})
    assert there["status"] == "ok"
    assert {**there, "patient": "1"} == here


def test_what_is_unchanged_is_fetched_once(site: Archive, model: ServedModel, folder: Path, tmp_path: Path) -> None:
    row: dict[str, object] = {"slide": f"{site.url}/wsi/a.tif"}
    first = ask(model, row)
    shutil.rmtree(tmp_path / "staged")
    assert ask(model, row) == first
    assert fetched(site) == ["GET /wsi/a.tif"]
    assert not (tmp_path / "staged").exists()
    shutil.copy(folder / "b.tif", tmp_path / "site" / "wsi" / "a.tif")
    os.utime(tmp_path / "site" / "wsi" / "a.tif", (1, 1))
    [second] = ask(model, row)
    assert second["prediction"] == ask(model, {"slide": str(folder / "b.tif")})[0]["prediction"]
    assert len(fetched(site)) == 2


def test_a_path_is_requested_as_it_was_parsed(site: Archive, model: ServedModel, tmp_path: Path) -> None:
    wsi = tmp_path / "site" / "wsi"
    (wsi / "a.tif").rename(wsi / "Weiß, b+c;d 100%.tif")
    names = ("Weiß, b+c;d 100%25.tif", "Wei%C3%9F,%20b+c;d%20100%25.tif")
    assert {answer["status"] for answer in ask(model, *({"slide": f"{site.url}/wsi/{n}"} for n in names))} == {"ok"}
    assert fetched(site) == ["GET /wsi/Wei%C3%9F,%20b+c;d%20100%25.tif"]
    ask(model, {"slide": f"{site.url}/wsi/%62.tif"})  # the path is not decoded on the way
    assert {line.split()[1] for line in site.requests[-2:]} == {"/wsi/%62.tif"}


def test_many_requests_at_once_fetch_a_slide_once(site: Archive, model: ServedModel) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: ask(model, {"slide": f"{site.url}/wsi/a.tif"}), range(8)))
    assert {answer["status"] for [answer] in answers} == {"ok"}
    assert fetched(site) == ["GET /wsi/a.tif"]


@pytest.mark.parametrize("prefixes", ["", "  "])
def test_without_a_prefix_no_server_is_asked(folder: Path, site: Archive, tmp_path: Path, prefixes: str) -> None:
    model = loaded(folder, tmp_path, prefixes, Limits((folder,), untrusted=False, readers=0))
    assert model.codes.remote is None
    bad, good = ask(model, {"slide": f"{site.url}/wsi/a.tif"}, {"slide": str(folder / "a.tif")})
    assert bad["reason"].startswith("OutsideRoots: slide 1: is not a path of this server")
    assert good["status"] == "ok"
    assert site.requests == []
    assert not (tmp_path / "staged").exists()


@pytest.mark.parametrize(
    "place",
    [
        "{url}/secret/Jane_Roe_1931.tif",
        "{url}/wsi-secret/Jane_Roe_1931.tif",
        "{url}/wsi/../secret/Jane_Roe_1931.tif",
        "{url}/wsi/%2e%2e/secret/Jane_Roe_1931.tif",
        "{url}/wsi/%252e%252e/secret/Jane_Roe_1931.tif",
        "{url}/wsi/..%2fsecret/Jane_Roe_1931.tif",
        "{url}/wsi/..;/secret/Jane_Roe_1931.tif",
        "{url}/wsi/a.tif?Jane_Roe_1931",
        "{url}/wsi/a.tif#Jane_Roe_1931",
        "{url}/wsi/a.tif\0",
        "{url}/wsi/a\\..\\..\\secret\\Jane_Roe_1931.tif",
        "{url}/wsi/a.tif\r\nX-Jane_Roe_1931: 1",
        "simplecache::{url}/wsi/a.tif",
        "filecache::{url}/wsi/a.tif",
        "zip://a.tif::{url}/wsi/a.tif",
        "{url}/wsi/a.tif::file:///etc/passwd.tif",
        "http://Jane_Roe_1931@{host}/wsi/a.tif",
        "http://{host}@localhost/wsi/Jane_Roe_1931.tif",
        "https://{host}/wsi/a.tif",
        "http://127.0.0.1/wsi/a.tif",
        "http://localhost:{port}/wsi/a.tif",
        "http://2130706433:{port}/wsi/a.tif",
        "file:///etc/passwd",
        "file://{folder}/a.tif",
        "s3://slides/Jane_Roe_1931.tif",
        "gs://slides/Jane_Roe_1931.tif",
        "{url}/wsi",
        "{url}/wsi/",
        "{url}/wsi/Jane_Roe_1931.txt",
        "{url}/wsi/Jane_Roe_1931.mrxs",
        "{url}/wsi/Jane_Roe_1931.h5",
        "{url}/wsi/.tif",
        "{url}/wsi/" + "A" * 5000 + ".tif",
    ],
)
def test_other_addresses_are_refused_before_a_server_is_asked(
    folder: Path, site: Archive, model: ServedModel, place: str
) -> None:
    filled = place.format(url=site.url, host=site.url[7:], port=site.server_port, folder=folder)
    bad, good = ask(model, {"slide": filled}, {"slide": str(folder / "a.tif")})
    assert site.requests == []
    assert good["status"] == "ok"
    assert bad["status"] == "refused"
    assert tells_nothing(bad["reason"], site, folder)


def test_files_of_codes_may_not_have_an_address(site: Archive, model: ServedModel) -> None:
    [answer] = ask(model, {"features": f"{site.url}/wsi/a.h5"})
    assert answer["reason"].startswith("OutsideRoots")
    assert site.requests == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("forbidden.tif", "NotStaged: slide 1: its server answered 403"),
        (f"{STRANGER}.tif", "NotStaged: slide 1: its server answered 404"),
        ("large.tif", "NotStaged: slide 1: 10000000000000 bytes; the folder of staged slides holds at most"),
        ("endless.tif", "NotStaged: slide 1: more came than the 1000 bytes"),
        ("short.tif", "NotStaged: slide 1: 10 of 1000 bytes came"),
        ("sizeless.tif", "NotStaged: slide 1: its store does not state a size"),
        ("packed.tif", "NotStaged: slide 1: its store does not state a size"),
        ("nameless.tif", "NotStaged: slide 1: its store states neither a tag nor a date"),
        ("changing.tif", "NotStaged: slide 1: it changed while it was fetched"),
        ("text.svs", "UnreadableSlide: slide 1"),
    ],
)
def test_a_bad_file_fails_alone_and_reveals_no_address(
    folder: Path, site: Archive, model: ServedModel, tmp_path: Path, name: str, reason: str
) -> None:
    bad, good = ask(model, {"slide": f"{site.url}/wsi/{name}"}, {"slide": f"{site.url}/wsi/a.tif"})
    assert good["status"] == "ok"
    assert bad["reason"].startswith(reason)
    assert tells_nothing(bad["reason"], site, folder)
    assert sum(file.stat().st_size for file in (tmp_path / "staged").glob("*/*")) < 1 << 20


def test_a_slide_that_is_too_large_is_not_fetched(site: Archive, model: ServedModel) -> None:
    ask(model, {"slide": f"{site.url}/wsi/large.tif"})
    assert fetched(site) == []


@pytest.mark.parametrize("to", ["{url}/secret/Jane_Roe_1931.tif", "{url}/wsi/a.tif", "{other}/Jane_Roe_1931.tif", "x"])
def test_a_redirect_is_not_followed(folder: Path, site: Archive, model: ServedModel, tmp_path: Path, to: str) -> None:
    (tmp_path / "other").mkdir()
    with archive(tmp_path / "other") as other:
        site.redirect_to = to.format(url=site.url, other=other.url)
        [answer] = ask(model, {"slide": f"{site.url}/wsi/redirect.tif"})
        assert answer["reason"].startswith("NotStaged: slide 1: its server answered 302")
        assert other.requests == []
    assert {line.split()[1] for line in site.requests} == {"/wsi/redirect.tif"}
    assert tells_nothing(answer["reason"], site, folder)


@pytest.mark.parametrize("name", ["silent.tif", "stalling.tif", "dripping.tif"])
def test_a_slow_server_is_given_up_at_the_deadline(folder: Path, site: Archive, tmp_path: Path, name: str) -> None:
    model = loaded(folder, tmp_path, f"{site.url}/wsi", Limits((folder,), seconds=SECONDS, untrusted=False, readers=0))
    begun = time.monotonic()
    good, bad = ask(model, {"slide": f"{site.url}/wsi/a.tif"}, {"slide": f"{site.url}/wsi/{name}"})
    assert time.monotonic() - begun < SECONDS + 2
    assert good["status"] == "ok"
    assert bad["reason"].startswith("NotStaged: slide 1: not fetched in time")
    assert [file.name for file in (tmp_path / "staged").glob("*/*")] == ["slide.tif"]
    assert ask(model, {"slide": f"{site.url}/wsi/a.tif"})[0]["status"] == "ok"


@pytest.mark.parametrize("name", ["silent.tif", "stalling.tif"])
def test_a_silent_server_costs_other_rows_little(
    site: Archive, model: ServedModel, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("nic.serving.remote_slides.SILENT_S", 0.5)
    bad, good = ask(model, {"slide": f"{site.url}/wsi/{name}"}, {"slide": f"{site.url}/wsi/a.tif"})
    assert bad["reason"].startswith("NotStaged: slide 1: ")
    assert good["status"] == "ok"


def test_a_server_that_is_down_is_not_named(folder: Path, site: Archive, model: ServedModel) -> None:
    site.shutdown()
    site.server_close()
    [answer] = ask(model, {"slide": f"{site.url}/wsi/a.tif"})
    assert answer["reason"] == "NotStaged: slide 1: cannot be fetched (ConnectionRefusedError)"
    assert tells_nothing(answer["reason"], site, folder)


def test_no_room_in_time_is_a_refusal(folder: Path, site: Archive, tmp_path: Path) -> None:
    model = loaded(
        folder,
        tmp_path,
        f"{site.url}/wsi",
        Limits((folder,), seconds=SECONDS, untrusted=False, readers=0),
        NIC_STAGED_MB="1",
    )
    assert model.codes.remote is not None
    staging = model.codes.remote.staging
    size = (folder / "a.tif").stat().st_size
    tight = replace(model.codes.remote, staging=replace(staging, most_bytes=size + 1000))
    model.codes.remote = tight
    shutil.copy(folder / "b.tif", tmp_path / "site" / "wsi" / "b.tif")
    other = tight.source(f"{site.url}/wsi/b.tif", "b", None)
    with tight.lease(other, tight.stat(other, float("inf")), float("inf")):
        [answer] = ask(model, {"slide": f"{site.url}/wsi/a.tif"})
    assert answer["reason"].startswith("NotStaged: slide 1: no room in time")
    assert ask(model, {"slide": f"{site.url}/wsi/a.tif"})[0]["status"] == "ok"


def test_an_unwritable_folder_does_not_affect_other_rows(
    folder: Path, site: Archive, model: ServedModel, tmp_path: Path
) -> None:
    (tmp_path / "staged").rmdir()
    (tmp_path / "staged").write_text("no folder")
    bad, good = ask(model, {"slide": f"{site.url}/wsi/a.tif"}, {"slide": str(folder / "a.tif")})
    wrong = "the folder of staged slides cannot be written (NotADirectoryError)"
    assert bad["reason"] == f"NotStaged: slide 1: {wrong}"
    assert good["status"] == "ok"


def test_the_header_that_the_operator_set_is_sent(
    site: Archive, model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fsspec.config.conf, "http", {"headers": {"Authorization": "Bearer of the archive"}})
    assert ask(model, {"slide": f"{site.url}/wsi/a.tif"})[0]["status"] == "ok"
    assert {headers["Authorization"] for headers in site.headers} == {"Bearer of the archive"}
    assert {headers["Accept-Encoding"] for headers in site.headers} == {"identity"}


@pytest.mark.parametrize(
    "prefixes",
    [
        "file:///slides",
        "file:///",
        "s3://slides/tcga/ file:///slides",
        "memory://slides",
        "ftp://archive.example/jane",
        "simplecache::s3://slides",
        "https://jane:secret@archive.example/wsi",
        "https://archive.example/wsi/../jane",
        "https://archive.example/wsi?jane",
        "https://",
        "/slides/jane",
        "s3://slides/jane,s3://others",
        "*",
    ],
)
def test_a_prefix_that_is_never_allowed_stops_the_server_from_starting(tmp_path: Path, prefixes: str) -> None:
    with pytest.raises(SettingError, match=r"NIC_SLIDE_URIS, prefix \d: ") as refused:
        RemoteSlides.from_environment(tmp_path, {"NIC_SLIDE_URIS": prefixes})
    assert "jane" not in str(refused.value)


@pytest.mark.skipif(importlib.util.find_spec("gcsfs") is not None, reason="gcsfs is here")
def test_a_missing_package_of_a_scheme_is_reported_at_start(tmp_path: Path) -> None:
    with pytest.raises(MissingExtra, match="gcsfs"):
        RemoteSlides.from_environment(tmp_path, {"NIC_SLIDE_URIS": "gs://slides/tcga"})


def test_the_folder_and_its_size_come_from_the_environment(tmp_path: Path) -> None:
    prefixes = {"NIC_SLIDE_URIS": "https://archive.example/wsi/\n  http://archive.example:8080"}
    usual = RemoteSlides.from_environment(tmp_path / "usual", prefixes)
    assert usual is not None
    assert [str(prefix) for prefix in usual.prefixes] == ["https://archive.example/wsi", "http://archive.example:8080"]
    assert (usual.staging.folder, usual.staging.most_bytes) == (tmp_path / "usual", 20_480 << 20)
    named = RemoteSlides.from_environment(
        tmp_path, {**prefixes, "NIC_STAGED_DIR": str(tmp_path / "named"), "NIC_STAGED_MB": "7"}
    )
    assert named is not None
    assert (named.staging.folder, named.staging.most_bytes) == (tmp_path / "named", 7 << 20)


def tells_nothing(reason: str, site: Archive, folder: Path) -> bool:
    secrets = (STRANGER, site.url[7:], str(site.server_port), "/wsi", "secret", str(folder.parent), "Traceback")
    return "slide 1" in reason and not any(secret in reason for secret in secrets)
