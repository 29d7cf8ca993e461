"""The served answers and maps of several classes and of grades, checked by hand."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from served_files import codes_file, write_plain_classes

from nic.encoder.loading import load_encoder
from nic.errors import RequestRefused
from nic.patients.calibration import GradeProbabilities, SoftmaxProbabilities
from nic.serving.cache import CodesCache
from nic.serving.limits import Limits
from nic.serving.operator_log import AnswersLog
from nic.serving.served_model import RequestParams, ServedModel
from nic.stages.companions import write_reference

NAMES = ("inflamed", "excluded", "desert")
SOFTMAX = SoftmaxProbabilities(NAMES, 2.0, (-1.0, 1.5, -0.5))
GRADES = GradeProbabilities(("1", "2", "4"), 1.0, (0.5, 2.0))


def served(folder: Path, calibration: SoftmaxProbabilities | GradeProbabilities) -> ServedModel:
    """Beside files of codes: the mean code of `low` is 0.5, that of `high` is 2."""
    spec = write_plain_classes(folder, calibration)
    codes_file(folder / "low.h5", spec, [(0, 0), (0, 1)], (3, 3))
    codes_file(folder / "high.h5", spec, [(0, n) for n in range(5)], (3, 6))
    files = {name: folder / f"{name}.onnx" for name in ("patient", "encoder")}
    return ServedModel.load(files, CodesCache(folder / "cache", 1 << 30), Limits((folder,), readers=0), "nic-k", "7")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("classes")


@pytest.fixture(scope="module")
def model(folder: Path) -> ServedModel:
    return served(folder, SOFTMAX)


@pytest.fixture(scope="module")
def grades(tmp_path_factory: pytest.TempPathFactory) -> tuple[ServedModel, Path]:
    folder = tmp_path_factory.mktemp("grades")
    return served(folder, GRADES), folder


def ask(model: ServedModel, rows: Sequence[Mapping[str, object]], **params: Any) -> list[dict[str, Any]]:
    answers = model.answer(pd.DataFrame(list(rows)), RequestParams(**params)).to_dict("records")
    json.dumps(answers, allow_nan=False)
    return answers


def softmax(scores: Sequence[float]) -> np.ndarray:
    odds = np.exp(2.0 * np.array(scores) + [-1.0, 1.5, -0.5])
    return odds / odds.sum()


def squares(drawn: str) -> list[float]:
    return [square["properties"]["measurements"]["score"] for square in json.loads(drawn)["features"]]


def test_an_answer_names_the_most_probable_class_and_has_the_probability_of_each(
    model: ServedModel, folder: Path
) -> None:
    low, high = ask(model, [{"features": str(folder / f"{name}.h5")} for name in ("low", "high")])
    for answer, scores, place in ((low, (0.75, 0, -0.75), 1), (high, (3, 0, -3), 0)):
        probability = softmax(scores)
        assert int(probability.argmax()) == place
        assert answer["class"] == NAMES[place]
        assert [answer[f"probability_{name}"] for name in NAMES] == pytest.approx(list(probability), abs=1e-5)
        assert answer["prediction"] == pytest.approx(probability[place], abs=1e-5)
        assert answer["score"] == pytest.approx(scores[place], abs=1e-5)
        half, more = softmax(np.array(scores) / 1.5), softmax(np.array(scores) / 0.75)  # of the two networks
        assert answer["uncertainty"] == pytest.approx(abs(half - more)[place] / 2, abs=1e-5)
        assert (answer["unit"], answer["status"]) == ("probability of the class", "ok")


def test_a_refused_patient_has_no_class(model: ServedModel, folder: Path) -> None:
    [answer] = ask(model, [{"features": str(folder / "gone.h5")}])
    names = ["class", "prediction", "score", *(f"probability_{name}" for name in NAMES)]
    assert [answer[name] for name in names] == [None] * len(names)


def test_the_map_is_that_of_the_answered_class_and_another_may_be_named(model: ServedModel, folder: Path) -> None:
    """All slides of a patient show one class, which is known after the last of them."""
    rows = [{"features": str(folder / f"{name}.h5"), "patient": "p"} for name in ("low", "high")]
    [answer] = ask(model, rows, map="geojson")
    assert answer["class"] == "inflamed"  # the low slide alone gives another class
    assert [squares(drawn) for drawn in answer["map"]] == [[0, 1.5], pytest.approx([0, 1.5, 3, 4.5, 6])]
    assert np.mean(np.concatenate([squares(drawn) for drawn in answer["map"]])) == pytest.approx(answer["score"])
    assert "log odds of inflamed" in json.loads(answer["map"][0])["nic"]["unit"]
    [other] = ask(model, rows, map="geojson", map_class="desert")
    assert [squares(drawn) for drawn in other["map"]] == [[0, -1.5], pytest.approx([0, -1.5, -3, -4.5, -6])]
    assert {name: other[name] for name in ("class", "score")} == {name: answer[name] for name in ("class", "score")}
    [picture] = ask(model, rows, map="png")
    assert len(picture["map"]) == 2


def test_a_map_counts_once_whatever_classes_there_are(model: ServedModel, folder: Path) -> None:
    rows = [{"features": str(folder / "high.h5")}]
    longest = max(len(ask(model, rows, map="geojson", map_class=name)[0]["map"][0]) for name in NAMES)
    codes = type(model.codes)(model.codes.reader, model.codes.cache, replace(model.codes.limits, maps_bytes=longest))
    [answer] = ask(replace(model, codes=codes), rows, map="geojson")
    assert answer["status"] == "ok"
    codes = type(model.codes)(
        model.codes.reader, model.codes.cache, replace(model.codes.limits, maps_bytes=longest - 1)
    )
    [answer] = ask(replace(model, codes=codes), rows, map="geojson")
    assert "maps of one request" in answer["reason"]


def test_a_class_that_has_no_map_is_refused(model: ServedModel, grades: tuple[ServedModel, Path], folder: Path) -> None:
    rows = pd.DataFrame({"features": [str(folder / "low.h5")]})
    with pytest.raises(RequestRefused, match="map_class: wanted one of inflamed, excluded, desert"):
        model.answer(rows, RequestParams(map="geojson", map_class="dessert"))
    with pytest.raises(RequestRefused, match="this model has one map"):
        grades[0].answer(rows, RequestParams(map="geojson", map_class="2"))


def test_an_answer_of_grades_has_the_expected_grade_in_the_grades_own_numbers(
    grades: tuple[ServedModel, Path],
) -> None:
    model, folder = grades
    [answer] = ask(model, [{"features": str(folder / "low.h5")}], map="geojson")
    at_most = [1 / (1 + np.exp(0.75 - threshold)) for threshold in (0.5, 2.0)]
    probability = np.diff([0, *at_most, 1])
    assert answer["score"] == pytest.approx(0.75)
    assert [answer[f"probability_{name}"] for name in ("1", "2", "4")] == pytest.approx(list(probability), abs=1e-6)
    assert answer["class"] == ("1", "2", "4")[int(probability.argmax())]
    assert answer["prediction"] == pytest.approx(probability @ [1, 2, 4])
    assert answer["unit"] == "expected grade, 1 to 4"
    assert squares(answer["map"][0]) == [0, 1.5]
    assert json.loads(answer["map"][0])["nic"]["unit"] == "log odds of a higher grade"


def test_a_model_of_classes_answers_its_reference(model: ServedModel, folder: Path, tmp_path: Path) -> None:
    spec = load_encoder(folder / "encoder.onnx").spec
    model.check_reference(write_reference(tmp_path, None, folder / "patient.onnx", spec))


def test_the_log_of_answers_has_the_class(model: ServedModel, folder: Path, tmp_path: Path) -> None:
    AnswersLog(tmp_path / "log.jsonl").keep(ask(model, [{"features": str(folder / "high.h5")}]))
    assert json.loads((tmp_path / "log.jsonl").read_text())["class"] == "inflamed"
