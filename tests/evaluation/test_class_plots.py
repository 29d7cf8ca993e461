"""Plots of classes and grades show every patient, and name a class that nobody has."""

import numpy as np
from matplotlib.figure import Figure as Plot
from sklearn.metrics import confusion_matrix

from nic.evaluation.class_plots import confusion_table, grade_strips, roc_one_vs_rest
from nic.evaluation.endpoint_figures import deciding_figure
from nic.evaluation.figure import Estimate, estimate

RNG = np.random.default_rng(0)
INDEX, LOGITS, CALLED = RNG.integers(0, 3, 40), RNG.normal(size=(40, 3)), RNG.integers(0, 3, 40)
NAMES = ("pushing", "replacement", "desmoplastic")


def estimated(kind: str, score: np.ndarray) -> Estimate:
    return estimate(deciding_figure(kind, (INDEX,), score), seed=0, resamples=20)


def texts(plot: Plot) -> str:
    plot.canvas.draw()
    return "\n".join(text.get_text() for text in plot.findobj(lambda a: hasattr(a, "get_text")))


def test_each_class_has_a_curve_from_corner_to_corner() -> None:
    plot = roc_one_vs_rest(INDEX, LOGITS, NAMES, estimated("multiclass", LOGITS), "pattern")
    for line in plot.axes[0].lines[1:]:
        assert (line.get_xdata()[0], line.get_ydata()[0]) == (0, 0)
        assert (line.get_xdata()[-1], line.get_ydata()[-1]) == (1, 1)
    assert all(f"{name}: AUC 0." in texts(plot) for name in NAMES)
    assert "macro AUC" in texts(plot)


def test_a_class_that_nobody_has_is_named() -> None:
    plot = roc_one_vs_rest(INDEX % 2, LOGITS, NAMES, estimated("multiclass", LOGITS), "pattern")
    assert "desmoplastic: nobody" in texts(plot)


def test_the_confusion_table_has_the_number_and_the_share_of_every_cell() -> None:
    plot = confusion_table(INDEX, CALLED, NAMES)
    table = confusion_matrix(INDEX, CALLED)
    shown = [text.get_text() for text in plot.axes[0].texts]
    assert shown == [f"{n}\n{n / row.sum():.0%}" for row in table for n in row]


def test_a_class_without_patients_has_no_shares() -> None:
    shown = [text.get_text() for text in confusion_table(INDEX % 2, CALLED, NAMES).axes[0].texts]
    assert shown[6:] == ["0", "0", "0"]


def test_every_patient_is_a_mark_in_the_strip_of_the_true_grade() -> None:
    score = RNG.normal(size=40)
    plot = grade_strips(INDEX, score, CALLED, NAMES, estimated("ordinal", score), "grade")
    marks = np.concatenate([c.get_offsets() for c in plot.axes[0].collections if len(c.get_offsets())])
    assert len(marks) == 40
    assert sorted(zip(marks[:, 1].round().tolist(), marks[:, 0].tolist(), strict=True)) == sorted(
        zip(INDEX.tolist(), score.tolist(), strict=True)
    )
    assert f"called correctly: {(INDEX == CALLED).sum()}" in texts(plot)
