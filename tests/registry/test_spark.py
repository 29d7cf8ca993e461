"""A registered model as a function of Spark, for those who have one."""

import shutil
import sys
from pathlib import Path

import mlflow
import pytest
from conftest import tissue_image, write_slide
from served_files import write_graphs

from nic.tracking.registry import load_served, register_patient_model

pytestmark = pytest.mark.slow  # a Java machine is started
pyspark_sql = pytest.importorskip("pyspark.sql", reason="wants pyspark")


def test_spark_gives_the_answers_of_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not shutil.which("java"):
        pytest.skip("wants Java")
    write_graphs(tmp_path)
    slides = [write_slide(tmp_path / f"{name}.tif", tissue_image(900, 800, seed)) for seed, name in enumerate("ab")]
    slides.append(tmp_path / "none.svs")
    monkeypatch.setenv("NIC_SLIDE_ROOTS", str(tmp_path))
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    spark = pyspark_sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        experiment = mlflow.create_experiment("spark", artifact_location=str(tmp_path / "artifacts"))
        with mlflow.start_run(experiment_id=experiment):
            version = register_patient_model("nic-score", tmp_path / "encoder.onnx", tmp_path / "patient.onnx", {}, {})
        answer = mlflow.pyfunc.spark_udf(
            spark, version.uri, result_type="prediction double, status string", env_manager="local"
        )
        rows = spark.createDataFrame([(str(slide),) for slide in slides], ["slide"])
        found = rows.withColumn("answer", answer("slide")).toPandas().set_index("slide")["answer"]
        wanted = load_served(version.uri)(rows.toPandas())
    finally:
        spark.stop()
        mlflow.set_tracking_uri(before)
    assert [found[str(slide)]["status"] for slide in slides] == list(wanted["status"]) == ["ok", "ok", "refused"]
    for slide, prediction in zip(slides[:2], wanted["prediction"], strict=False):
        assert found[str(slide)]["prediction"] == pytest.approx(prediction, abs=1e-6)
