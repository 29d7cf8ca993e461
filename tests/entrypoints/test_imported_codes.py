"""Codes of another tool's encoder, from its files to a registered model that answers for more such files."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import tissue_image, write_slide
from mlflow.tracking import MlflowClient
from stores import new_store

from entrypoints import compare_networks, draw_maps, evaluate, import_features, monitor, predict, train_patients
from nic.errors import ForeignCodes, LeakFound, RequestRefused
from nic.tracking.evidence import graph_sha256
from nic.tracking.registry import find_version, load_served
from nic.tracking.trace import trace, unaccounted

SIDE_PX, CODE_SIZE = 512, 24
pytestmark = pytest.mark.slow


def write_features(folder: Path, slide_id: str, value: float, seed: int) -> None:
    """TRIDENT's features of 256 px at 20x: as many as eight tiles a row, their first number about `value`."""
    rng = np.random.default_rng(seed)
    col, row = np.meshgrid(np.arange(8), np.arange(6))
    codes = rng.normal(size=(48, CODE_SIZE))
    codes[:, 0] += value
    with h5py.File(folder / f"{slide_id}.h5", "w") as file:
        file["features"] = codes.astype(np.float32)
        coords = file.create_dataset("coords", data=np.stack([col.ravel(), row.ravel()], axis=1) * SIDE_PX)
        coords.attrs.update(patch_size=256, patch_size_level0=SIDE_PX, level0_magnification=40)
        coords.attrs.update(target_magnification=20, overlap=0, name=slide_id)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("imported")
    features = folder / "features_uni_v1"
    features.mkdir()
    rows = []
    for number, value in enumerate(np.linspace(-2, 2, 30)):
        split = "external" if number % 3 == 0 else "train"
        site = f"site{number % 5}"
        slide = f"slides/s{number}.svs"
        rows.append({"patient": f"P{number}", "slide": slide, "split": split, "site": site, "score": value})
        write_features(features, f"s{number}", value, number)
    pd.DataFrame(rows).to_csv(folder / "cohort.csv", index=False)
    study = {
        "name": "imported",
        "tile_tasks": [{"name": "none", "path": "none"}],
        "cohorts": {"c": "cohort.csv"},
        "endpoints": [{"name": "score", "cohort": "c", "kind": "regression", "column": "score"}],
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(new_store(folder))
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("imported", artifact_location=str(folder / "mlruns")))
    config = import_features.Config(features, "trident", folder / "codes", mpp=0.25)
    assert import_features.run(config)["quarantined"] == []
    yield folder
    mlflow.set_tracking_uri(before)


def training(folder: Path) -> train_patients.Config:
    return train_patients.Config(
        folder / "study.yaml", "score", folder / "codes", encoder="imported", folds=2, epochs=12
    )


@pytest.fixture(scope="module")
def model(folder: Path) -> str:
    return str(train_patients.run(training(folder))["version"])


def test_patient_models_train_on_imported_codes(folder: Path, model: str) -> None:
    """And are evaluated on them, without a slide at hand. Nothing is written where another training would find it."""
    assert not (folder / "nic-score").exists()
    result = evaluate.run(evaluate.Config(folder / "study.yaml", "score", folder / "codes", model))
    assert result["n"] == 10
    assert float(result["measured"].split()[0]) > 0.8
    [run] = mlflow.search_runs(filter_string="tags.`nic.stage` = 'evaluate'", max_results=1, output_format="list")
    report = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/report.html")
    assert report.count("data:image/png;base64,") == 2 + 1 + 6  # result and calibration, sites, best and worst patients
    assert "site: site3" in report


def test_other_code_of_serving_registers_the_same_networks_without_training(folder: Path, model: str) -> None:
    """The finished run is made one of other code of serving: its key is another, that of its training is not."""
    version = find_version(model)
    MlflowClient().set_tag(version.tags["nic.run"], "nic.key", "of other code of serving")
    again = find_version(str(train_patients.run(training(folder))["version"]))
    assert again.tags["nic.networks_of"] == version.full_name
    assert graph_sha256(again) == graph_sha256(version)
    assert unaccounted(trace(again), foreign_encoder=True) == []
    row = pd.DataFrame({"slide": [str(folder / "codes" / "s7.h5")]})
    assert load_served(again.uri)(row)["prediction"][0] == load_served(model)(row)["prediction"][0]


def test_maps_of_imported_codes_are_drawn_without_their_slides(folder: Path, model: str) -> None:
    result = draw_maps.run(draw_maps.Config(model, folder / "codes", out=folder / "maps"))
    table = pd.read_csv(folder / "maps" / "maps.csv")
    assert result["slides"] == len(table) == 30
    np.testing.assert_allclose(table.mean_score, table.prediction, atol=1e-5)  # each slide is its own patient
    for kind in ("png", "geojson", "tif"):
        assert len(list((folder / "maps").glob(f"*.{kind}"))) == 30


def test_who_cannot_be_answered_is_a_row_with_the_reason(folder: Path, model: str) -> None:
    (folder / "lost.csv").write_text("patient,slide,split\nP/0,slides/s0.svs,train\nlost,slides/lost.svs,train\n")
    config = draw_maps.Config(model, folder / "codes", str(folder / "lost.csv"), folder / "some")
    assert draw_maps.run(config)["slides"] == 1
    table = pd.read_csv(folder / "some" / "maps.csv")
    assert table.status[0] == "ok"
    assert table.status[1].startswith("CodesError: lost: no codes")
    assert len(list((folder / "some").glob("P_0*.png"))) == 1  # the name says that it is not the patient's own


def test_a_cohort_is_predicted_and_watched(folder: Path, model: str) -> None:
    out = folder / "answers.parquet"
    codes = str(folder / "codes")
    assert predict.run(predict.Config(model, str(folder / "cohort.csv"), codes, out, str(folder / "drawn")))["ok"] == 30
    table = pd.read_parquet(out)
    assert list(table["patient"]) == [f"P{n}" for n in range(30)]
    served = load_served(model)(pd.DataFrame({"slide": [f"{codes}/s7.h5"], "patient": ["P7"]}))
    assert table["prediction"][7] == pytest.approx(served["prediction"][0], abs=1e-6)
    assert len(list((folder / "drawn").iterdir())) == 30
    assert monitor.run(monitor.Config(model, out, folder / "monitor.html"))["alarms"] == []
    strangers = folder / "strangers.csv"
    table.tail(12).assign(score=9.0, prediction=9.0, ood=True, ood_score=3.0).to_csv(strangers, index=False)
    with pytest.raises(SystemExit):
        monitor.run(monitor.Config(model, strangers, folder / "monitor.html", strict=True))
    assert "Please look at: predictions, unlike training." in (folder / "monitor.html").read_text()
    assert "only large changes" in (folder / "monitor.html").read_text()
    (folder / "cohort_without.csv").write_text("patient,slide,split\nlost,slides/lost.svs,external\n")
    with pytest.raises(SystemExit):
        predict.run(
            predict.Config(model, str(folder / "cohort_without.csv"), codes, folder / "lost_answers.csv", strict=True)
        )
    assert pd.read_csv(folder / "lost_answers.csv")["status"].tolist() == ["refused"]
    with pytest.raises(RequestRefused, match="no such folder"):
        predict.run(predict.Config(model, codes=str(folder / "cods"), out=out))
    with pytest.raises(RequestRefused, match=r"neither \.csv nor \.parquet"):
        predict.run(predict.Config(model, codes=codes, out=folder / "answers.xlsx"))


def test_another_network_on_folds_by_site_is_registered_with_its_split(folder: Path) -> None:
    chosen = folder / "study.yaml", "score", folder / "codes"
    config = train_patients.Config(*chosen, encoder="imported", network="pooled-linear", folds=4, split_by="site")
    version = str(train_patients.run(config)["version"])
    assert float(evaluate.run(evaluate.Config(*chosen, version))["measured"].split()[0]) > 0.8
    (run,) = mlflow.search_runs(filter_string="params.network = 'pooled-linear'", output_format="list")
    split = pd.read_csv(mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/split.csv"))
    assert (split.groupby("site").fold.nunique() == 1).all()
    assert split.fold.nunique() == 4
    audit = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/audit.txt")
    assert audit.startswith("Not known: which tiles the encoder was trained on")
    assert "20 training patients, fewer than 100" in audit


def test_one_slide_in_both_parts_stops_the_training(folder: Path) -> None:
    table = (folder / "cohort.csv").read_text().splitlines()
    (folder / "leaking.csv").write_text("\n".join([*table, "p-001,slides/again.svs,train,site1,0"]))
    (folder / "codes" / "again.h5").write_bytes((folder / "codes" / "s0.h5").read_bytes())
    study = yaml.safe_load((folder / "study.yaml").read_text()) | {"cohorts": {"c": "leaking.csv"}}
    (folder / "leaking.yaml").write_text(yaml.safe_dump(study))
    config = train_patients.Config(folder / "leaking.yaml", "score", folder / "codes", encoder="imported", folds=2)
    try:
        with pytest.raises(LeakFound, match=r"one slide file: again of patient p-001 in fold . and s0 of patient P0"):
            train_patients.run(config)
    finally:
        (folder / "codes" / "again.h5").unlink()


def test_networks_are_compared_on_the_same_external_patients(folder: Path) -> None:
    (folder / "all").mkdir()
    (folder / "all" / "c").symlink_to(folder / "codes")
    networks = "pooled-linear,attention-mil"
    config = compare_networks.Config(folder / "study.yaml", folder / "all", networks=networks, folds=2, epochs=4)
    first, second = compare_networks.run(config)["networks"]
    assert [first["network"], second["network"]] == networks.split(",")
    assert first["difference from the first"] == "-"
    low, high = (float(x) for x in second["difference from the first"].split("[")[1].rstrip("]").split(", "))
    assert low < high
    assert first["patients"] == second["patients"] == 10


def test_the_model_answers_for_files_of_codes_alone(folder: Path, model: str) -> None:
    write_slide(folder / "slide.tif", tissue_image(800, 700))
    slides = [folder / "codes" / "s0.h5", folder / "codes" / "s29.h5", folder / "slide.tif", folder / "cohort.csv"]
    answers = load_served(model)(pd.DataFrame({"slide": [str(s) for s in slides]}))
    assert list(answers["status"]) == ["ok", "ok", "refused", "refused"]
    assert answers["prediction"][0] < answers["prediction"][1]
    assert set(answers["encoder_version"]) == {"uni_v1/TRIDENT"}
    assert "this model has no encoder for pixels; give a file of codes of its tool as features" in answers["reason"][2]


def test_codes_of_another_encoder_are_refused(folder: Path, model: str) -> None:
    config = import_features.Config(
        folder / "features_uni_v1", "trident", folder / "others", mpp=0.25, encoder="conch_v15"
    )
    import_features.run(config)
    answers = load_served(model)(pd.DataFrame({"slide": [str(folder / "others" / "s0.h5")]}))
    assert list(answers["status"]) == ["refused"]
    assert "ForeignCodes: slide 1: codes of encoder" in answers["reason"][0]


def test_an_encoder_that_did_not_make_the_codes_is_refused(folder: Path, model: str) -> None:
    config = train_patients.Config(folder / "study.yaml", "score", folder / "codes", encoder=model)
    with pytest.raises(ForeignCodes, match="codes of uni_v1/TRIDENT, not of models:/nic-score/1"):
        train_patients.run(config)
