"""Lineage finds what a version was made of, the right one of two similar things, and names what was not recorded."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.tiling import Tiling
from nic.encoder.spec import EncoderSpec
from nic.patients.cohort import Endpoint
from nic.slides.grid import TileGrid
from nic.tracking.checks import lineage_check
from nic.tracking.digests import codes_digest, digest, file_sha256
from nic.tracking.gates import Gate
from nic.tracking.registry import (
    ENCODER_MODEL,
    PATIENT_MODEL,
    RegisteredVersion,
    model_folder,
    register_encoder,
    register_patient_model,
    serving_digest,
)
from nic.tracking.runs import SERVING, artifact_place, lineage, stage_run
from nic.tracking.source_digest import KEPT_SOURCE
from nic.tracking.trace import Node, trace, unaccounted

ENDPOINT = Endpoint("grade", "classification", ("Grade",), positive="high")


@dataclass(frozen=True)
class Config:
    seed: int = 0


@dataclass(frozen=True)
class Made:
    """A patient model, its encoder and the runs behind them. sizes: of the codes it learned from, by name."""

    model: RegisteredVersion
    encoder: RegisteredVersion
    compressed: str
    sizes: Mapping[str, int]

    @property
    def trained(self) -> str:
        return self.model.tags["nic.run"]


def compressed(folder: Path, sha256: str) -> None:
    row, col, everywhere = np.zeros(3, np.int32), np.arange(3, dtype=np.int32), np.ones((1, 3), bool)
    codes = np.random.default_rng(int(sha256[:8], 16)).normal(size=(3, 4)).astype(np.float16)
    spec = EncoderSpec(4, 64, 1.0, 0.5, "multitask", ("a",), sha256)
    grid = TileGrid(64, 1.0, 0.5, (0, 0), 1, 3)
    CompressedSlide("s0", codes, row, col, grid, everywhere, ~everywhere, spec, "f" * 64, Tiling()).save(
        folder / "s0.h5"
    )


def made(folder: Path, name: str) -> Made:
    """An encoder whose graph is its name, the cohort compressed with it, and a patient model of those codes."""
    graph, patient, codes = folder / f"encoder-{name}.onnx", folder / f"patient-{name}.onnx", folder / name
    graph.write_text(name)
    patient.write_text(f"patient {name}")
    sha256 = file_sha256(graph)
    with stage_run("train_encoder", Config(), {"tasks": "t0", SERVING: serving_digest(ENCODER_MODEL)}):
        encoder = register_encoder(graph, lineage("train_encoder", encoder_sha256=sha256))
    with stage_run("compress", Config(), {"slides": "s0", "encoder": sha256}) as compress:
        compressed(codes, sha256)
        compress.leave("codes", codes_digest(codes))
    inputs = {
        "cohort": "c0",
        "endpoint": ENDPOINT.definition,
        "codes": codes_digest(codes),
        "encoder": sha256,
        SERVING: serving_digest(PATIENT_MODEL),
    }
    with stage_run("train_patients", Config(), inputs) as stage:
        tags = lineage("train_patients", cohort="c0", encoder_version=encoder.full_name, encoder_sha256=sha256)
        model = register_patient_model("nic-grade", graph, patient, tags)
        for file in ("split.csv", "codes.csv"):
            stage.log_text("patient", file)
    sizes = {file.name: file.stat().st_size for file in codes.iterdir()}
    return Made(model, encoder, compress.run_id, sizes)


@pytest.fixture(scope="module")
def two(store: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, Made]:
    """Models of two encoders of one code size, of the same slides."""
    folder = tmp_path_factory.mktemp("two")
    return made(folder, "first"), made(folder, "other")


def node(root: Node, beginning: str) -> Node:
    return next(node for node in root.walk() if node.what.startswith(beginning))


def tags_of(run_id: str) -> dict[str, str]:
    return dict(MlflowClient().get_run(run_id).data.tags)


@pytest.fixture
def edit(two: tuple[Made, Made]) -> Iterator["Edit"]:
    edit = Edit()
    yield edit
    edit.undo()


class Edit:
    """Tags of runs and versions, as they were before they were kept or as somebody left them; all is put back."""

    def __init__(self) -> None:
        self.before: list[tuple[str, str, str]] = []

    def run(self, run_id: str, tag: str, value: str | None) -> None:
        if (known := tags_of(run_id).get(tag)) is not None:
            self.before.append((run_id, tag, known))
        if value is not None:
            MlflowClient().set_tag(run_id, tag, value)
        elif known is not None:
            MlflowClient().delete_tag(run_id, tag)

    def undo(self) -> None:
        for run_id, tag, value in reversed(self.before):
            MlflowClient().set_tag(run_id, tag, value)


def test_two_encoders_of_one_code_size_leave_both_models_whole(two: tuple[Made, Made]) -> None:
    first, other = two
    assert first.sizes == other.sizes
    for each in two:
        assert unaccounted(trace(each.model)) == []
        assert lineage_check(each.model, Gate(figure="external.auc", at_least=0.5)).passed
        assert node(trace(each.model), "compress, run").what.endswith(each.compressed[:12])


def test_codes_that_were_digested_by_names_and_sizes_are_those_of_their_encoder(
    two: tuple[Made, Made], edit: Edit
) -> None:
    """And of their bytes nothing is said: neither that they are here nor that they are others."""
    older = "07a6624a9755666e"
    for each in two:
        edit.run(each.compressed, "nic.output.codes", older)
        edit.run(each.trained, "nic.input.codes", older)
    for each in two:
        tree = trace(each.model, lambda stage, parameters: {"codes": "rows-1", "slides": "s0", "cohort": "c0"})
        assert unaccounted(tree) == []
        assert node(tree, "codes 0").state == "recorded"
        assert node(tree, "compress, run").what.endswith(each.compressed[:12])


def test_codes_that_no_run_made_with_this_encoder_are_unrecorded(two: tuple[Made, Made], edit: Edit) -> None:
    first, other = two
    edit.run(first.trained, "nic.input.codes", tags_of(other.trained)["nic.input.codes"])
    assert unaccounted(trace(first.model)) == [
        "the run that made them is unrecorded (no run has left codes of this digest with this encoder)"
    ]


def test_data_are_here_when_their_bytes_are_and_changed_when_not(two: tuple[Made, Made]) -> None:
    wanted = tags_of(two[0].trained)["nic.input.codes"]
    states = {
        now: node(trace(two[0].model, lambda stage, parameters, now=now: {"codes": now}), "codes rows").state
        for now in (wanted, "rows-0123", f"rows-{digest({})}")
    }
    assert list(states.values()) == ["here", "changed", "gone"]


@pytest.mark.parametrize(
    ("of", "tag", "missing"),
    [
        ("trained", "nic.input.cohort", "cohort is unrecorded"),
        ("trained", "nic.input.endpoint", "definition of the endpoint is unrecorded"),
        ("trained", "nic.input.codes", "codes is unrecorded"),
        ("trained", "nic.code", "code is unrecorded"),
        ("encoder", "nic.input.tasks", "tasks is unrecorded"),
        ("compressed", "nic.input.slides", "slides is unrecorded"),
    ],
)
def test_an_input_that_a_run_does_not_record_is_unrecorded(
    of: str, tag: str, missing: str, two: tuple[Made, Made], edit: Edit
) -> None:
    runs = {"trained": two[0].trained, "compressed": two[0].compressed, "encoder": two[0].encoder.tags["nic.run"]}
    edit.run(runs[of], tag, None)
    assert any(text.startswith(missing) for text in unaccounted(trace(two[0].model)))


def test_the_definition_of_the_endpoint_is_shown(two: tuple[Made, Made]) -> None:
    assert node(trace(two[0].model), "endpoint").what == "endpoint grade: classification of 'Grade', positive is 'high'"
    turned = json.dumps(json.loads(ENDPOINT.definition) | {"positive": "low"}, sort_keys=True)
    found = node(trace(two[0].model, lambda stage, parameters: {"endpoint": turned}), "endpoint")
    assert found.state == "changed"
    assert found.note.endswith("positive is 'low'")


@pytest.mark.parametrize(
    ("kept", "commit", "state"),
    [
        ("its own", None, "recorded"),
        ("its own", "c" * 40, "recorded"),
        (None, "c" * 40, "recorded"),
        (None, None, "unrecorded"),
        ("another", "c" * 40, "changed"),
    ],
)
def test_code_of_another_checkout_is_recorded_by_its_source_or_its_commit(
    kept: str | None, commit: str | None, state: str, two: tuple[Made, Made], edit: Edit, tmp_path: Path
) -> None:
    encoder = two[0].encoder
    (tmp_path / "a.py").write_text("a = 1\n")
    older = digest({"nic/a.py": file_sha256(tmp_path / "a.py")})
    edit.run(encoder.tags["nic.run"], "nic.code", older)
    edit.run(encoder.tags["nic.run"], "mlflow.source.git.commit", commit)
    place = Path(artifact_place(encoder.tags["nic.run"], KEPT_SOURCE))
    todays = place.read_bytes()
    place.unlink()
    if kept == "its own":
        with ZipFile(place, "w") as archive:
            archive.writestr("nic/a.py", "a = 1\n")
    if kept == "another":
        place.write_bytes(todays)
    found = trace(replace(encoder, tags=encoder.tags | {"nic.code": older}))
    place.write_bytes(todays)
    assert node(found, f"code {older}").state == state


def test_changed_serving_code_of_a_version_shows(two: tuple[Made, Made]) -> None:
    version = two[1].model
    assert node(trace(version), "code of serving").state == "here"
    served = model_folder(version) / "code" / "nic" / "serving" / "limits.py"
    before = served.read_text()
    served.write_text(before + "\n# changed\n")
    assert node(trace(version), "code of serving").state == "changed"
    served.write_text(before)
