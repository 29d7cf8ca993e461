"""The file of gates: what it may contain, and the errors of a misspelt one."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from nic.errors import RegistryError
from nic.evaluation.endpoint_figures import deciding_figure
from nic.evaluation.figure import Labels
from nic.patients.choices import Kind
from nic.stages.promote import gates_in
from nic.tracking.gates import DECIDING, Bound, gate_of, read_gates

SHIPPED = Path(__file__).resolve().parents[2] / "registry" / "promotion.yaml"


def test_the_shipped_gates_are_read_and_those_of_patient_models_use_every_check() -> None:
    gates = read_gates(SHIPPED)
    assert set(gates) == {"nic-encoder", "nic-proliferation", "nic-growth-pattern", "nic-survival"}
    for name, gate in gates.items():
        assert name == "nic-encoder" or (gate.patients and gate.serving and gate.subgroups and gate.margin)
        assert not gate.foreign_encoder


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nic-score: {figure: external.spearman, at_leats: 0.5}", r"gates\.yaml: nic-score\.at_leats"),
        ("nic-score: {at_least: 0.5}", r"nic-score\.figure: Field required"),
        ("nic-score: [", "not YAML"),
        ("nic-score: {figure: external.auc}", "external.auc has no bound, .* add at_least: 0.7"),
        ("nic-score: {figure: external.auc, margin: 0.1, patients: d0}", "external.auc has no bound"),
        (
            "nic-score: {figure: auc, at_least: 0.7}",
            r"nic-score\.figure: .*'auc' names no figure; wanted <part>\.<figure>",
        ),
        ("nic-score: {figure: external.auc, at_least: 0.7, others: {external.brier: {}}}", "no bound, so every"),
    ],
)
def test_a_misspelt_gate_is_named(tmp_path: Path, text: str, told: str) -> None:
    broken = tmp_path / "gates.yaml"
    broken.write_text(text)
    with pytest.raises(RegistryError, match=told):
        read_gates(broken)


def test_a_file_or_a_name_without_a_gate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="no such file of gates"):
        read_gates(tmp_path / "none.yaml")
    with pytest.raises(RegistryError, match="nic-score: no gate"):
        gate_of("nic-score", {})


@pytest.mark.parametrize(
    ("value", "holds"), [(0.5, True), (0.7, True), (0.49, False), (0.71, False), (float("nan"), False)]
)
def test_a_bound_includes_its_ends_and_never_nan(value: float, holds: bool) -> None:
    assert Bound(at_least=0.5, at_most=0.7).holds(value) == holds
    assert not Bound(at_most=0.5).holds(float("nan"))


def test_the_gates_of_a_study_replace_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "gates.yaml").write_text(
        "nic-a: {figure: external.auc, at_least: 0.7}\nnic-b: {figure: external.auc, at_least: 0.8}\n"
    )
    (tmp_path / "study.yaml").write_text(
        "name: s\nencoder: nic-encoder/1\ncohorts: {c: c.csv}\nendpoints:\n"
        "  - {name: a, cohort: c, kind: regression, column: x, gate: {figure: external.spearman, at_least: 0.2}}\n"
        "  - {name: b, cohort: c, kind: regression, column: x}\n"
    )
    gates = gates_in(tmp_path / "gates.yaml", str(tmp_path / "study.yaml"))
    assert {name: gate.at_least for name, gate in gates.items()} == {"nic-a": 0.2, "nic-b": 0.8}
    assert gates_in(tmp_path / "gates.yaml", "")["nic-a"].at_least == 0.7


def test_the_gate_that_is_proposed_names_the_figure_that_decides() -> None:
    classes, scores = np.array([0, 1, 2]), np.eye(3)
    labels: dict[Kind, tuple[Labels, NDArray[np.float64]]] = {
        "regression": ((np.arange(3.0),), np.arange(3.0)),
        "classification": ((classes > 0,), np.arange(3.0)),
        "multiclass": ((classes,), scores),
        "ordinal": ((classes,), np.arange(3.0)),
        "survival": ((np.arange(1.0, 4.0), classes > 0), np.arange(3.0)),
    }
    assert {kind: deciding_figure(kind, *of).name for kind, of in labels.items()} == DECIDING
    assert set(DECIDING) == set(get_args(Kind))
