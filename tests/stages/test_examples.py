"""A registered model brings an example request that it answers, and the columns of its answers."""

from pathlib import Path

from mlflow.types.schema import DataType
from served_files import write_graphs

from nic.encoder.loading import load_encoder
from nic.stages.companions import write_reference
from nic.stages.examples import patient_example, tile_request
from nic.tracking.registry import REFERENCE


def test_the_example_needs_no_slide_and_is_answered(tmp_path: Path) -> None:
    write_graphs(tmp_path)
    encoder, patient = tmp_path / "encoder.onnx", tmp_path / "patient.onnx"
    spec = load_encoder(encoder).spec
    reference = write_reference(tmp_path / "reference", encoder, patient, spec)
    example = patient_example({"encoder": encoder, "patient": patient, REFERENCE: reference})
    assert set(example.request) == {"patient", "image", "mpp"}
    [answer] = example.answer.to_dict("records")
    assert (answer["patient"], answer["status"]) == ("example", "ok")
    types = {column.name: column.type for column in example.answer_schema}
    assert list(types) == list(answer)
    wanted = {"prediction": DataType.double, "tiles": DataType.long, "status": DataType.string}
    assert {name: types[name] for name in wanted} == wanted


def test_a_model_of_another_tools_codes_has_an_example_with_a_file_of_codes(tmp_path: Path) -> None:
    write_graphs(tmp_path)
    patient = tmp_path / "patient.onnx"
    spec = load_encoder(tmp_path / "encoder.onnx").spec
    reference = write_reference(tmp_path / "reference", None, patient, spec)
    example = patient_example({"patient": patient, REFERENCE: reference})
    assert example.request.to_dict("records") == [{"patient": "example", "features": "/codes/reference.h5"}]
    assert example.answer["status"].tolist() == ["ok"]


def test_the_example_of_an_encoder_is_a_tile_of_its_size(tmp_path: Path) -> None:
    write_graphs(tmp_path)
    [row] = tile_request(tmp_path / "encoder.onnx").to_dict("records")
    assert row["image"]
