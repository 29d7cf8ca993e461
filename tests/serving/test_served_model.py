"""Requests with slides, codes, images and nonsense get one answer a patient, without names of files."""

import base64
import io
import json
import shutil
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest
from conftest import tissue_image, write_slide
from numpy.typing import NDArray
from PIL import Image
from served_files import write_graphs

from nic.compression.compress_slide import compress_slide
from nic.encoder.loading import load_encoder
from nic.errors import RequestRefused, SmokeFailed
from nic.patients.familiarity import Familiarity
from nic.serving.cache import CodesCache
from nic.serving.limits import Limits
from nic.serving.requests import by_patient
from nic.serving.served_model import RequestParams, ServedModel
from nic.slides.slide import SlideSource
from nic.stages.companions import write_reference

STRANGER = "Jane_Roe_1931"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served_model")
    write_slide(folder / "a.tif", tissue_image(900, 800))
    write_slide(folder / f"{STRANGER}.tif", tissue_image(900, 800, seed=1), mpp=None)
    (folder / f"{STRANGER}.svs").write_text("no slide")
    write_graphs(folder)
    codes = compress_slide(SlideSource("a", folder / "a.tif"), load_encoder(folder / "encoder.onnx"))
    codes.save(folder / f"{STRANGER}.h5")
    size = codes.codes.shape[1]
    Familiarity(np.zeros(size), np.eye(size), 1.0).save(folder / "familiarity.npz")
    write_reference(folder / "reference", folder / "encoder.onnx", folder / "patient.onnx", codes.encoder)
    return folder


@pytest.fixture
def model(folder: Path, tmp_path: Path) -> ServedModel:
    return loaded(folder, tmp_path, Limits((folder,), readers=0))  # with processes: test_row_reader.py


def loaded(folder: Path, cache: Path, limits: Limits) -> ServedModel:
    files = {
        "patient": folder / "patient.onnx",
        "encoder": folder / "encoder.onnx",
        "familiarity": folder / "familiarity.npz",
    }
    return ServedModel.load(files, CodesCache(cache, 1 << 30), limits, "nic-score", "7")


def png(pixels: NDArray[np.uint8]) -> str:
    return base64.b64encode(cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()).decode()


def bomb(side: int) -> str:
    """A PNG of some hundred bytes that claims side x side px."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(parts)).decode()


def test_a_slide_its_codes_and_its_pixels_are_answered_alike(model: ServedModel, folder: Path) -> None:
    flat = write_slide(folder / "flat.tif", tissue_image(900, 800), downsamples=(1,), compression="none")
    rows = pd.DataFrame(
        {
            "slide": [str(folder / "a.tif"), None, str(flat), None],
            "features": [None, str(folder / f"{STRANGER}.h5"), None, None],
            "image": [None, None, None, png(tissue_image(900, 800))],
            "patient": ["slide", "features", "flat", "image"],
            "mpp": [None, None, None, 0.5],
        }
    )
    answers = model.answer(rows, RequestParams()).set_index("patient")
    assert set(answers["status"]) == {"ok"}
    assert answers.loc["slide", "prediction"] == pytest.approx(answers.loc["features", "prediction"], abs=1e-6)
    assert answers.loc["flat", "prediction"] == pytest.approx(answers.loc["image", "prediction"], abs=1e-6)
    assert answers.loc["slide", "tissue_mm2"] == pytest.approx(answers.loc["slide", "tiles"] * 0.064**2)
    assert (answers["failed_tiles"] == 0).all()


def test_a_bad_row_fails_alone_and_reveals_neither_name_nor_path(model: ServedModel, folder: Path) -> None:
    good = str(folder / "a.tif")
    bad: list[dict[str, object]] = [
        {"slide": str(folder / f"{STRANGER}.svs")},
        {"slide": str(folder / f"{STRANGER}.tif")},
        {"slide": str(folder / f"{STRANGER}-gone.tif")},
        {"features": str(folder / "a.tif")},
        {"features": str(folder / f"{STRANGER}-gone.h5")},
        {"slide": "/etc/passwd"},
        {"slide": f"file://{good}"},
        {"slide": "http://127.0.0.1/a.svs"},
        {"slide": f"{good}\0"},
        {"slide": str(folder)},
        {"slide": good, "mpp": -1.0},
        {"slide": good, "mpp": float("inf")},
        {"slide": good, "features": good},
        {},
        {"image": png(tissue_image(300, 300))},
        {"image": "not base64!", "mpp": 0.5},
        {"image": base64.b64encode(b"GIF89a").decode(), "mpp": 0.5},
        {"image": png(tissue_image(300, 300))[:-400], "mpp": 0.5},
        {"image": bomb(60_000), "mpp": 0.5},
        {"image": png(np.full((200, 200, 3), 255, np.uint8)), "mpp": 0.5},
    ]
    rows = [{"slide": good, "patient": "good"}, *({**row, "patient": f"p{n}"} for n, row in enumerate(bad))]
    answers = model.answer(pd.DataFrame(rows), RequestParams()).set_index("patient")
    assert answers.loc["good", "status"] == "ok"
    refused = answers.drop("good")
    assert list(refused["status"]) == ["refused"] * len(bad)
    for reason in refused["reason"]:
        assert "slide 1" in reason
        assert STRANGER not in reason
        assert str(folder.parent) not in reason
        assert "Traceback" not in reason
    json.dumps(answers.to_dict("records"), allow_nan=False)


def test_a_row_without_a_patient_is_a_patient_of_its_own(folder: Path) -> None:
    rows = pd.DataFrame({"slide": ["/x/a.tif", "/y/a.tif", None], "patient": [None, None, float("nan")]})
    assert [r.patient for r in by_patient(rows, 10)] == ["a", "a", "row 3"]


def test_a_million_rows_are_refused_unread(model: ServedModel) -> None:
    with pytest.raises(RequestRefused, match="1000000 rows"):
        model.answer(pd.DataFrame({"slide": np.repeat("x", 1_000_000)}), RequestParams())


@pytest.mark.parametrize("params", [{"map": "pickle"}, {"max_tiles": -1}, {"batch_tiles": -1}])
def test_unknown_parameters_are_refused(params: dict[str, object]) -> None:
    with pytest.raises(RequestRefused):
        RequestParams(**params)  # type: ignore[arg-type]


def test_the_limits_hold(folder: Path, tmp_path: Path) -> None:
    rows = pd.DataFrame({"slide": [str(folder / "a.tif")]})
    for number, limits in enumerate(
        (Limits((folder,), tiles=5), Limits((folder,), seconds=0.0), Limits((folder,), slide_px=1000))
    ):
        answers = loaded(folder, tmp_path / str(number), limits).answer(rows, RequestParams())
        assert answers["reason"][0].startswith("OverLimit"), limits
    model = loaded(folder, tmp_path, Limits((folder,)))
    assert model.answer(rows, RequestParams(max_tiles=5))["status"][0] == "refused"
    assert model.answer(rows, RequestParams())["status"][0] == "ok"
    assert model.answer(rows, RequestParams(max_tiles=5))["status"][0] == "refused"  # also if the codes are cached


def test_a_small_file_that_declares_terabytes_is_not_read(model: ServedModel, folder: Path) -> None:
    with h5py.File(folder / "bomb.h5", "w") as file:
        file.create_dataset("features", (1000, 1 << 30), np.float16, chunks=(1, 1 << 20))
    answers = model.answer(pd.DataFrame({"features": [str(folder / "bomb.h5")]}), RequestParams())
    assert answers["reason"][0].startswith("OverLimit")


def test_threads_get_the_answers_of_one(model: ServedModel, folder: Path) -> None:
    rows = pd.DataFrame({"slide": [str(folder / "a.tif")] * 2, "patient": ["a", "b"]})
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: model.answer(rows, RequestParams()), range(16)))
    assert all(answer.equals(answers[0]) for answer in answers)


def test_the_mean_of_a_map_is_the_score(model: ServedModel, folder: Path) -> None:
    rows = pd.DataFrame({"slide": [str(folder / "a.tif")]})
    [answer] = model.answer(rows, RequestParams(map="geojson")).to_dict("records")
    [squares] = [json.loads(text)["features"] for text in answer["map"]]
    assert len(squares) == answer["tiles"]
    assert np.mean([s["properties"]["measurements"]["score"] for s in squares]) == pytest.approx(
        answer["score"], abs=1e-5
    )
    assert np.ptp(squares[0]["geometry"]["coordinates"][0], axis=0) == pytest.approx(128)  # 64 um at 0.5 um/px
    [answer] = model.answer(rows, RequestParams(map="png")).to_dict("records")
    with Image.open(io.BytesIO(base64.b64decode(answer["map"][0]))) as picture:
        assert picture.width / picture.height == pytest.approx(900 / 800, abs=0.01)


def test_the_reference_guards_against_another_graph(model: ServedModel, folder: Path, tmp_path: Path) -> None:
    model.check_reference(folder / "reference")
    shutil.copytree(folder / "reference", tmp_path / "reference")
    (tmp_path / "reference" / "answers.json").write_text('[{"prediction": 123.0}]')
    with pytest.raises(SmokeFailed, match="123"):
        model.check_reference(tmp_path / "reference")


def test_a_strange_patient_is_flagged(model: ServedModel, folder: Path) -> None:
    rows = pd.DataFrame({"slide": [str(folder / "a.tif")]})
    score = model.answer(rows, RequestParams())["ood_score"][0]
    for threshold, flag in ((score * 2, False), (score / 2, True)):
        known = replace(model.familiarity, threshold=threshold)  # type: ignore[type-var]
        assert replace(model, familiarity=known).answer(rows, RequestParams())["ood"][0] is flag
