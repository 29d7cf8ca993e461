"""Three classes and three grades of small real slides: trained, measured, promoted or refused, answered and watched."""

from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from small_study import Place, place_in
from stores import new_store

from entrypoints import compare_networks, draw_maps, monitor, predict, train_patients
from nic.tracking.recorded_estimates import artifact_text
from nic.tracking.registry import find_version

pytestmark = pytest.mark.slow
CLASSES, GRADES = ("blue", "grey", "red"), ("1", "2", "3")
GATES = {
    "nic-kind": {"figure": "external.macro_auc", "at_least": 0.6},
    "nic-grade": {"figure": "external.grade_c_index", "at_least": 0.9999},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The colour of a slide in three ranges, without an order and with one."""
    folder, before = tmp_path_factory.mktemp("classes"), mlflow.get_tracking_uri()
    place = place_in(folder, new_store(folder), str(folder / "mlruns"), GATES)
    cohort = pd.read_csv(folder / "cohort.csv")
    thirds = np.digitize(cohort["score"], cohort["score"].quantile([0.35, 0.65]))
    cohort["kind"], cohort["grade"] = np.array(CLASSES)[thirds], thirds + 1
    cohort.to_csv(folder / "cohort.csv", index=False)
    cohort.head(2).to_csv(folder / "few.csv", index=False)
    study = yaml.safe_load((folder / "study.yaml").read_text())
    study["endpoints"] = [
        {"name": "kind", "cohort": "c", "kind": "multiclass", "column": "kind"},
        {"name": "grade", "cohort": "c", "kind": "ordinal", "column": "grade", "classes": list(GRADES)},
    ]
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    yield place
    mlflow.set_tracking_uri(before)


@pytest.mark.parametrize(
    ("name", "names", "figure"), [("kind", CLASSES, "macro_auc"), ("grade", GRADES, "grade_c_index")]
)
def test_a_study_of_classes_goes_from_labels_to_answers_that_are_watched(
    place: Place, tmp_path: Path, name: str, names: tuple[str, ...], figure: str
) -> None:
    model, study = f"models:/nic-{name}/1", place.folder / "study.yaml"
    trained = train_patients.run(
        train_patients.Config(study, name, place.codes, "models:/nic-encoder/1", network="pooled-linear", folds=2)
    )
    assert trained["metric"] == figure
    probabilities = [f"probability_{each}" for each in names]
    text = artifact_text(find_version(model).run_id, "cross_validated.csv")
    assert text is not None
    (tmp_path / "oof.csv").write_text(text)
    out_of_fold = pd.read_csv(tmp_path / "oof.csv", dtype={"label": str, "class": str})
    assert set(out_of_fold["label"]) == set(names)
    np.testing.assert_allclose(out_of_fold[probabilities].sum(axis=1), 1)

    for split in ("external", "cross_validated"):
        place.evaluate(model, endpoint=name, split=split)
    verdict = place.promote(model)
    assert verdict["promoted"] is (name == "kind")

    out, few = tmp_path / "answers.csv", str(place.folder / "few.csv")
    config = predict.Config(model, slides=str(place.folder / "cohort.csv"), codes=str(place.codes), out=out)
    assert predict.run(config)["ok"] == 36
    answers = pd.read_csv(out, dtype={"class": str})
    np.testing.assert_allclose(answers[probabilities].sum(axis=1), 1)
    assert answers["class"].tolist() == [names[k] for k in answers[probabilities].to_numpy().argmax(1)]
    expected = answers[probabilities].max(axis=1) if name == "kind" else answers[probabilities] @ [1, 2, 3]
    np.testing.assert_allclose(answers["prediction"], expected)

    watched = monitor.run(monitor.Config(model, out, out=tmp_path / "monitor.html"))
    assert "alarms" in watched
    drawn = draw_maps.run(draw_maps.Config(model, codes=place.codes, slides=few, out=tmp_path / "maps"))
    assert drawn["slides"] == 2
    assert len(list((tmp_path / "maps").glob("*.png"))) == 2 * (3 if name == "kind" else 1)


def test_networks_are_compared_on_both(place: Place, tmp_path: Path) -> None:
    (tmp_path / "c").symlink_to(place.codes)  # a folder for each cohort
    config = compare_networks.Config(
        place.folder / "study.yaml", codes=tmp_path, networks="attention-mil,pooled-linear", folds=2, epochs=2
    )
    rows = pd.DataFrame(compare_networks.run(config)["networks"])
    assert rows[["endpoint", "metric"]].drop_duplicates().to_numpy().tolist() == [
        ["kind", "macro_auc"],
        ["grade", "grade_c_index"],
    ]
    assert len(rows) == 4
