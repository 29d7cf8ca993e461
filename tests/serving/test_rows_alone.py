"""An error costs its row alone, with bounded memory and time, and its text is not revealed."""

import errno
import json
import math
import resource
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from served_files import codes_file, write_plain_graphs

from nic.errors import OverLimit, RequestRefused
from nic.serving.cache import CodesCache
from nic.serving.limits import Limits
from nic.serving.memory import Footprint, Memory
from nic.serving.operator_log import INTERNAL
from nic.serving.served_model import RequestParams, ServedModel

STRANGER = "Jane_Roe_1931"
NO_COLUMN = "no row has a column slide, features or image"
KNOWN = "known columns are slide, features, image, patient, mpp"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    spec = write_plain_graphs(folder)
    codes_file(folder / "a.h5", spec, [(0, 0), (0, 1), (2, 3)], (5, 6))
    codes_file(folder / "b.h5", spec, [(1, 1)], (3, 3))
    codes_file(folder / f"{STRANGER}.h5", spec, [(0, 0), (9_999, 9_999)], (10_000, 10_000))
    return folder


@pytest.fixture(scope="module")
def model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    """The processes that read are started once for all tests of this module."""
    files = {name: folder / f"{name}.onnx" for name in ("patient", "encoder")}
    cache = CodesCache(tmp_path_factory.mktemp("cache"), 1 << 30)
    return ServedModel.load(files, cache, Limits((folder,), readers=0), "nic-score", "7")


def limited(model: ServedModel, **limits: float) -> ServedModel:
    codes = type(model.codes)(model.codes.reader, model.codes.cache, replace(model.codes.limits, **limits))
    return replace(model, codes=codes)


def ask(model: ServedModel, rows: Sequence[Mapping[str, object]], **params: Any) -> list[dict[str, Any]]:
    return model.answer(pd.DataFrame(list(rows)), RequestParams(**params)).to_dict("records")


def test_one_slide_of_a_patient_is_in_memory_at_a_time(model: ServedModel, folder: Path) -> None:
    rows = [{"features": str(folder / name), "patient": "p"} for name in ("a.h5", "b.h5")]
    [answer] = ask(model, rows, map="geojson")
    assert answer["prediction"] == pytest.approx(1.5 * np.mean([0, 1, 2, 0]))
    assert answer["tiles"] == 4
    assert answer["tissue_mm2"] == pytest.approx(4 * 0.064**2)
    squares = [square for drawn in answer["map"] for square in json.loads(drawn)["features"]]
    scores = [square["properties"]["measurements"]["score"] for square in squares]
    assert scores == pytest.approx([0, 1.5, 3, 0])


def test_what_is_reported_comes_first_and_says_its_unit(model: ServedModel, folder: Path) -> None:
    [answer] = ask(model, [{"features": str(folder / "a.h5"), "patient": "p"}])
    assert list(answer)[:5] == ["patient", "prediction", "unit", "uncertainty", "score"]
    assert answer["unit"] == "points"


def test_two_codes_at_the_corners_of_a_wide_grid_are_refused_before_they_are_read(
    model: ServedModel, folder: Path
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = [{"features": str(folder / name)} for name in ("a.h5", f"{STRANGER}.h5", "b.h5")]
    good, wide, other = ask(model, rows)
    more_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"peak memory of the server: {more_mb:.0f} MB more")
    assert [good["status"], wide["status"], other["status"]] == ["ok", "refused", "ok"]
    assert "OverLimit: slide 1: codes spread over 10000 x 10000 cells" in wide["reason"]
    assert STRANGER not in wide["reason"]
    assert more_mb < 200


def test_rows_past_the_deadline_are_refused_unread(model: ServedModel, folder: Path) -> None:
    rows = [{"features": str(folder / "a.h5"), "patient": f"p{n}"} for n in range(256)]
    answers = ask(limited(model, seconds=1e-6), rows, map="geojson")
    assert {answer["status"] for answer in answers} == {"refused"}
    assert all("not done in time" in answer["reason"] for answer in answers)


def test_maps_of_a_request_are_bounded_together(model: ServedModel, folder: Path) -> None:
    rows = [{"features": str(folder / "a.h5"), "patient": f"p{n}"} for n in range(4)]
    [whole] = ask(model, rows[:1], map="geojson")[0]["map"]
    answers = ask(limited(model, maps_bytes=2 * len(whole)), rows, map="geojson")
    assert [answer["status"] for answer in answers] == ["ok", "ok", "refused", "refused"]
    assert "maps of one request" in answers[3]["reason"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Jane_Roe"),
        OSError(errno.ENOSPC, "No space left on device", f"/slides/{STRANGER}.h5"),
        RuntimeError(f"Symlink loop from '/slides/{STRANGER}.svs'"),
        ZeroDivisionError("Jane_Roe"),
    ],
)
def test_an_unforeseen_error_costs_its_row_and_reveals_nothing(
    model: ServedModel,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    read = model.codes.reader.features

    def failing(source: Any, *how: Any) -> Path:
        if source.path.name == "b.h5":
            raise error
        return read(source, *how)

    monkeypatch.setattr(model.codes.reader, "features", failing)
    good, bad = ask(model, [{"features": str(folder / "a.h5")}, {"features": str(folder / "b.h5")}])
    assert (good["status"], bad["status"], bad["reason"]) == ("ok", "refused", INTERNAL)
    assert f"a row was refused: {type(error).__name__}" in caplog.text
    assert "test_rows_alone.py:" in caplog.text
    assert "Jane_Roe" not in caplog.text


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_keyboard_interrupt_ends_the_server(
    model: ServedModel, folder: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    def stopped(*_: object) -> Path:
        raise stop

    monkeypatch.setattr(model.codes.reader, "features", stopped)
    with pytest.raises(stop):
        ask(model, [{"features": str(folder / "a.h5")}])


def test_an_answer_that_is_not_a_number_is_refused(
    model: ServedModel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = model.patient_model.scored
    monkeypatch.setattr(
        model.patient_model, "scored", lambda slide: replace(scored(slide), sums=np.array([math.nan, 1.0]))
    )
    [answer] = ask(model, [{"features": str(folder / "a.h5")}])
    assert (answer["status"], answer["prediction"], answer["tiles"]) == ("refused", None, 0)
    assert "no number" in answer["reason"]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"slid": ["/x.tif"]}, f"{NO_COLUMN}; the columns are slid (did you mean slide?); {KNOWN}"),
        ({"mpp": [0.5], "Slide": ["a"]}, f"{NO_COLUMN}; the columns are Slide (did you mean slide?); {KNOWN}"),
        ({"file": ["/x.tif"]}, f"{NO_COLUMN}; the columns are file; {KNOWN}"),
        ({}, f"{NO_COLUMN}; {KNOWN}"),
        ({"slide": []}, "no rows"),
        ({"x" * 100: ["a"]}, f"; the columns are {'x' * 40}; known"),
        ({"slide": ["/x.tif"], "mmp": [0.25]}, f"unknown column mmp (did you mean mpp?); {KNOWN}"),
    ],
)
def test_a_request_whose_columns_are_not_known_is_refused(
    model: ServedModel, columns: dict[str, list[object]], reason: str
) -> None:
    with pytest.raises(RequestRefused) as refused:
        model.answer(pd.DataFrame(columns), RequestParams())
    assert reason in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("value", [pd.NA, None, float("nan"), ""])
def test_empty_cells_of_any_kind_are_missing(model: ServedModel, folder: Path, value: object) -> None:
    rows = pd.DataFrame({"features": [str(folder / "a.h5")], "slide": [value], "mpp": [value]}, dtype=object)
    assert model.answer(rows, RequestParams())["status"][0] == "ok"


@pytest.mark.parametrize("value", [["a"], np.array(["a", "b"]), {"a": 1}, 7, True])
def test_a_cell_that_is_not_text_costs_its_row(model: ServedModel, folder: Path, value: object) -> None:
    rows = pd.DataFrame({"slide": [value, str(folder / "a.h5")]}, dtype=object)
    assert list(model.answer(rows, RequestParams())["status"]) == ["refused", "ok"]


def test_an_mpp_that_is_not_a_number_costs_its_row(model: ServedModel, folder: Path) -> None:
    rows = pd.DataFrame({"slide": [str(folder / "a.tif"), str(folder / "a.h5")], "mpp": ["half", None]}, dtype=object)
    answers = model.answer(rows, RequestParams())
    assert list(answers["status"]) == ["refused", "ok"]
    assert "mpp is not a number" in answers["reason"][0]


def test_memory_is_waited_for_and_released() -> None:
    footprint = Footprint(10, 4, (5, 6), (5, 6))
    memory = Memory(footprint.bytes * 3 // 2)
    with memory.reserve(footprint, math.inf):
        with pytest.raises(OverLimit, match="taken by other slides; ask again"), memory.reserve(footprint, 0.0):
            pass
        with memory.reserve(Footprint(1, 4, (1, 1), (1, 1)), 0.0):
            pass
    with memory.reserve(footprint, 0.0):
        pass
    with pytest.raises(OverLimit, match="NIC_MEMORY_MB"), Memory(footprint.bytes - 1).reserve(footprint, math.inf):
        pass


def test_a_footprint_depends_on_the_extent_not_on_the_grid(folder: Path) -> None:
    with h5py.File(folder / "a.h5") as file:
        assert Footprint.of(file) == Footprint(3, 4, (5, 6), (3, 4))
    narrow, wide = (Footprint(10, 128, (1000, 1000), extent).bytes for extent in ((10, 10), (1000, 1000)))
    assert narrow < 30 << 20 < 1 << 30 < wide
