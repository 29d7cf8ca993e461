"""A stage is used again exactly when all that it reads is the same, wherever that lies."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow.tracking import MlflowClient
from stores import new_store

from entrypoints import (
    compare,
    compare_networks,
    compress,
    draw_maps,
    evaluate,
    import_features,
    promote,
    train_encoder,
    train_patients,
)
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.tiling import Tiling
from nic.encoder.spec import EncoderSpec
from nic.errors import StudyError
from nic.slides.grid import TileGrid
from nic.tracking.runs import stage_key
from nic.tracking.source_digest import PROJECT

SPEC = EncoderSpec(4, 64, 1.0, 0.5, "multitask", ("a",), "a" * 64)
STUDY = {
    "name": "keys",
    "tile_tasks": [{"name": "a", "path": "tiles"}],
    "cohorts": {"c": "cohort.csv"},
    "endpoints": [
        {"name": "grade", "cohort": "c", "kind": "classification", "column": "grade", "positive": "high"},
        {"name": "dead", "cohort": "c", "kind": "survival", "time": "months", "event": "died", "covariates": ["age"]},
    ],
}
COHORT = pd.DataFrame(
    {
        "patient": ["P0", "P1", "P2", "P3"],
        "slide": [f"slides/s{n}.svs" for n in range(4)],
        "split": ["train", "train", "external", "external"],
        "grade": ["high", "low", "high", "low"],
        "months": ["1", "2", "3", "4"],
        "weeks": ["4", "8", "12", "16"],
        "died": ["1", "0", "1", "0"],
        "age": ["50", "60", "70", "80"],
        "sex": ["f", "m", "f", "m"],
        "part": ["a", "b", "a", "b"],
    }
)


def write_codes(folder: Path, seed: int = 0, sha256: str = SPEC.sha256) -> None:
    """Two slides of three codes; other seeds and encoders leave files of the same names and sizes."""
    row, col, everywhere = np.zeros(3, np.int32), np.arange(3, dtype=np.int32), np.ones((1, 3), bool)
    for number in range(2):
        codes = np.random.default_rng([seed, number]).normal(size=(3, 4)).astype(np.float16)
        grid, spec = TileGrid(64, 1.0, 0.5, (0, 0), 1, 3), SPEC.with_sha256(sha256)
        slide = CompressedSlide(f"s{number}", codes, row, col, grid, everywhere, ~everywhere, spec, "f" * 64, Tiling())
        slide.save(folder / f"s{number}.h5")


def write(folder: Path, study: dict[str, Any] = STUDY, cohort: pd.DataFrame = COHORT) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    cohort.to_csv(folder / "cohort.csv", index=False)
    return folder


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Versions by name alone, two of them of one encoder."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(new_store(tmp_path_factory.mktemp("store")))
    client = MlflowClient()
    for name, digests in (("nic-encoder", ("a", "a", "b")), ("nic-grade", ("a", "a")), ("nic-dead", ("a", "a"))):
        client.create_registered_model(name)
        for digest in digests:
            client.create_model_version(name, "file:///nowhere", tags={"nic.encoder_sha256": digest * 64})
    yield
    mlflow.set_tracking_uri(before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_codes(tmp_path / "one" / "codes" / "c")
    return write(tmp_path / "one")


def trained(folder: Path, endpoint: str = "grade", **changes: Any) -> str:
    config = train_patients.Config(folder / "study.yaml", endpoint, folder / "codes" / "c", "models:/nic-encoder/1")
    return key(train_patients, replace(config, **changes))


def evaluated(folder: Path, endpoint: str = "grade", **changes: Any) -> str:
    config = evaluate.Config(folder / "study.yaml", endpoint, folder / "codes" / "c", f"models:/nic-{endpoint}/1")
    return key(evaluate, replace(config, **changes))


def compared(folder: Path, endpoint: str = "grade") -> str:
    models = [f"models:/nic-{endpoint}/{version}" for version in (1, 2)]
    return key(compare, compare.Config(folder / "study.yaml", endpoint, folder / "codes" / "c", *models))


def networks(folder: Path, endpoint: str = "grade") -> str:
    return key(compare_networks, compare_networks.Config(folder / "study.yaml", folder / "codes", endpoints=endpoint))


STAGES = pytest.mark.parametrize("stage", [trained, evaluated, compared, networks])
KeyOf = Callable[..., str]


def key(module: ModuleType, config: Any) -> str:
    return stage_key(module.__name__.rpartition(".")[2], config, module.inputs(config))


def edited(endpoint: str, **changes: Any) -> dict[str, Any]:
    entries = [entry | changes if entry["name"] == endpoint else entry for entry in STUDY["endpoints"]]  # type: ignore[index,operator]
    return STUDY | {"endpoints": [{k: v for k, v in entry.items() if v is not None} for entry in entries]}


@STAGES
@pytest.mark.parametrize(
    ("endpoint", "changes"),
    [
        ("grade", {"positive": "low"}),
        ("grade", {"column": "sex", "positive": "f"}),
        ("grade", {"kind": "regression", "column": "age", "positive": None}),
        ("grade", {"unit": "grades"}),
        ("dead", {"time": "weeks"}),
        ("dead", {"event": "age"}),
    ],
)
def test_another_definition_of_the_endpoint_is_another_stage(
    stage: KeyOf, endpoint: str, changes: dict[str, Any], folder: Path
) -> None:
    before = stage(folder, endpoint)
    write(folder, edited(endpoint, **changes))
    assert stage(folder, endpoint) != before


@STAGES
def test_another_label_or_patient_is_another_stage(stage: KeyOf, folder: Path) -> None:
    before = stage(folder)
    write(folder, cohort=COHORT.replace({"grade": {"low": "high"}}))
    another_label = stage(folder)
    write(folder, cohort=COHORT.iloc[:3])
    assert len({before, another_label, stage(folder)}) == 3


@STAGES
def test_what_the_endpoint_does_not_read_changes_nothing(stage: KeyOf, folder: Path) -> None:
    before = stage(folder)
    others = edited("dead", covariates=[], unit="months") | {"name": "renamed", "truth": None}
    write(folder, others, COHORT.assign(new="x", months="9", sex="m"))
    assert stage(folder) == before


@STAGES
def test_the_place_of_what_is_read_changes_nothing(
    stage: KeyOf, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stage(folder)
    monkeypatch.chdir(folder.parent)
    assert stage(Path("one")) == before
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert stage(tmp_path / "elsewhere") == before


@STAGES
@pytest.mark.parametrize("other", [{"seed": 1}, {"sha256": "b" * 64}])
def test_other_codes_of_the_same_names_and_sizes_are_another_stage(
    stage: KeyOf, other: dict[str, Any], folder: Path
) -> None:
    codes, before = folder / "codes" / "c", stage(folder)
    sizes = {file.name: file.stat().st_size for file in codes.iterdir()}
    write_codes(codes, **other)
    assert {file.name: file.stat().st_size for file in codes.iterdir()} == sizes
    assert stage(folder) != before


def test_columns_that_are_read_beside_the_labels_count_where_they_are_read(folder: Path) -> None:
    by_part = trained(folder, split_by="part")
    adjusted, by_sex, unread = evaluated(folder, "dead"), evaluated(folder, subgroups="sex"), trained(folder, "dead")
    write(folder, cohort=COHORT.assign(part="a", age="40", sex="m"))
    assert trained(folder, split_by="part") != by_part
    assert evaluated(folder, "dead") != adjusted
    assert evaluated(folder, subgroups="sex") != by_sex
    assert trained(folder, "dead") == unread


def test_an_encoder_counts_by_its_graph_and_not_by_its_version(folder: Path) -> None:
    first, again, other = (trained(folder, encoder=f"models:/nic-encoder/{version}") for version in (1, 2, 3))
    assert first == again != other


def test_the_truth_of_a_study_is_read(folder: Path) -> None:
    keys = set()
    for content in ("1", "2"):
        (folder / "truth.csv").write_text(content)
        write(folder, STUDY | {"truth": "truth.csv"})
        keys.add(evaluated(folder))
    assert len({*keys, evaluated(write(folder))}) == 3


def test_slides_and_masks_are_read_by_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "encoder.onnx").write_bytes(b"graph")
    masks, slides = tmp_path / "masks", tmp_path / "slides"
    masks.mkdir()
    slides.mkdir()
    config = compress.Config(str(slides / "*.tif"), str(tmp_path / "encoder.onnx"), tmp_path / "out", tissue=str(masks))
    keys = []
    for slide, mask in ((b"slide 1", b"mask 1"), (b"slide 2", b"mask 1"), (b"slide 2", b"mask 2")):
        (slides / "s.tif").write_bytes(slide)
        (masks / "s.png").write_bytes(mask)
        keys.append(key(compress, config))
    assert len(set(keys)) == 3


def test_the_place_of_masks_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "encoder.onnx").write_bytes(b"graph")
    (tmp_path / "s.tif").write_bytes(b"slide")
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "s.png").write_bytes(b"mask")
    monkeypatch.chdir(tmp_path)
    config = compress.Config("s.tif", "encoder.onnx", Path("out"), tissue="masks")
    otsu, absolute = replace(config, tissue="otsu"), replace(config, tissue=str(tmp_path / "masks"))
    assert key(compress, config) == key(compress, absolute) != key(compress, otsu)


ENTRY_POINTS = sorted(yaml.safe_load((PROJECT / "MLproject").read_text())["entry_points"])


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_a_path_is_the_same_absolute_and_relative(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a stage writes counts, such as work and out; how the path is written does not."""
    monkeypatch.chdir(tmp_path)
    config_type = import_module(f"entrypoints.{name}").Config
    types = get_type_hints(config_type)
    needed = {field.name: "x" for field in fields(config_type) if field.default is MISSING}
    paths = [path for path, kind in types.items() if kind is Path]
    relative, absolute = (
        config_type(**needed | {path: folder / path for path in paths}) for folder in (Path(), tmp_path)
    )
    assert stage_key(name, relative, {}) == stage_key(name, absolute, {})


def test_features_of_another_tool_are_read_by_their_bytes_and_the_name_of_their_folder(tmp_path: Path) -> None:
    keys = []
    for name, content in (("uni", b"1"), ("uni", b"2"), ("conch", b"2")):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "s.h5").write_bytes(content)
        keys.append(key(import_features, import_features.Config(tmp_path / name, "trident", tmp_path / "out")))
    assert len(set(keys)) == 3


def test_maps_are_drawn_anew_on_other_codes(folder: Path) -> None:
    config = draw_maps.Config("models:/nic-grade/1", folder / "codes" / "c")
    before = key(draw_maps, config)
    write_codes(config.codes, seed=1)
    assert key(draw_maps, config) != before


@pytest.mark.parametrize("number", ["1", "2"])
def test_a_version_that_was_measured_anew_is_judged_anew(number: str, tmp_path: Path) -> None:
    """It, or the champion it is held against."""
    (tmp_path / "gates.yaml").write_text("nic-dead: {figure: external.c_index, at_least: 0.5}\n")
    client, config = MlflowClient(), promote.Config("models:/nic-dead/2", tmp_path / "gates.yaml")
    client.set_registered_model_alias("nic-dead", "champion", "1")
    before = key(promote, config)
    client.set_model_version_tag("nic-dead", number, "promotion.verdict", "refused")
    assert key(promote, config) == before
    client.set_model_version_tag("nic-dead", number, "figure.external.c_index", "{}")
    assert key(promote, config) != before


def test_only_the_gate_of_the_version_and_its_bounds_judge_it_anew(tmp_path: Path) -> None:
    file, config = tmp_path / "gates.yaml", promote.Config("models:/nic-dead/2", tmp_path / "gates.yaml")
    keys = []
    for at_least, other in ((0.5, 0.7), (0.5, 0.9), (0.6, 0.9)):
        file.write_text(
            f"nic-dead: {{figure: external.c_index, at_least: {at_least}}}\n"
            f"nic-grade: {{figure: external.auc, at_least: {other}}}\n"
        )
        keys.append(key(promote, config))
    assert keys[0] == keys[1] != keys[2]
    study = STUDY["endpoints"][1] | {"gate": {"figure": "external.c_index", "at_least": 0.6}}  # type: ignore[index]
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY | {"endpoints": [study]}))
    file.write_text("nic-dead: {figure: external.c_index, at_least: 0.5}\n")
    assert key(promote, replace(config, study=str(tmp_path / "study.yaml"))) == keys[2]


def test_an_encoder_is_not_trained_again_for_another_path_of_its_study(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no", "yes"):
        (folder / "tiles" / name).mkdir(parents=True)
        (folder / "tiles" / name / "1.png").write_bytes(name.encode())
    write(folder, STUDY | {"tile_tasks": [{"name": "a", "path": "tiles", "mpp": 1.0}]})
    absolute = key(train_encoder, train_encoder.Config(folder / "study.yaml", folder / "work"))
    monkeypatch.chdir(folder.parent)
    assert key(train_encoder, train_encoder.Config(Path("one/study.yaml"), Path("one/work"))) == absolute


def test_a_study_without_tile_tasks_trains_patients_and_no_encoder(folder: Path) -> None:
    before = trained(folder)
    write(folder, {name: value for name, value in STUDY.items() if name != "tile_tasks"} | {"encoder": "nic-encoder/1"})
    assert trained(folder) == before
    with pytest.raises(StudyError, match="no tile_tasks; add labelled tiles"):
        key(train_encoder, train_encoder.Config(folder / "study.yaml"))
