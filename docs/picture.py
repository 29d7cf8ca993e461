"""Draw docs/phantom.png from what `make demo` left: run `python docs/picture.py` in the project's folder."""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure as Plot

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from nic.compression.compressed_slide import CompressedSlide
from nic.evaluation.endpoint_figures import deciding_figure
from nic.evaluation.figure import estimate
from nic.evaluation.map_picture import overlay
from nic.patients.cohort_table import read_cohort
from nic.patients.predictor import PatientModel, predict_cohort
from nic.slides.slide import Slide
from nic.study import read_study
from nic.tracking.registry import graph_file

ENDPOINT = "proliferation"
CLOSE_UP_PX = 420


def main() -> None:
    study = read_study(Path("studies/phantom.yaml"))
    entry = study.endpoint(ENDPOINT)
    model = PatientModel(graph_file(f"models:/{entry.model_name}@champion", "patient"))
    codes = Path("work/codes") / f"{entry.cohort}-{model.spec.encoder_sha256[:8]}"
    external = read_cohort(study.cohorts[entry.cohort]).labelled(entry.endpoint, "external")
    answers = [answer for answer in predict_cohort(model, external.patients, codes) if answer]
    scores = np.array([answer.prediction for answer in answers])
    measured = estimate(deciding_figure(entry.kind, external.targets.arrays, scores), seed=0)

    plot = Plot(figsize=(13, 3.9), layout="constrained")
    close_up, whole, tinted, result = plot.subplots(1, 4)
    shown = int(scores.argsort()[-len(scores) // 4])  # the upper quartile, not the best
    source = external.patients[shown].slides[0]
    grid = CompressedSlide.load(codes / f"{source.slide_id}.h5").grid
    score_map = answers[shown].score_maps[0]
    row, col = np.unravel_index(np.nanargmax(score_map), score_map.shape)
    with Slide.open(source) as slide:
        thumbnail = slide.thumbnail(1200)
        x, y = grid.cell_origin_l0px(int(row), int(col))
        corner = (x - CLOSE_UP_PX // 3, y - CLOSE_UP_PX // 3)
        close_up.imshow(slide.read_region(*corner, 0, CLOSE_UP_PX, CLOSE_UP_PX))
        whole.imshow(thumbnail)
        tinted.imshow(overlay(score_map, grid, thumbnail, slide.size_l0px))
    names = ("around its highest tile", f"slide {source.slide_id}", "the score of each tile;\ntheir mean is the answer")
    for axes, name in zip((close_up, whole, tinted), names, strict=True):
        axes.set_title(name, fontsize=10)
        axes.set_axis_off()
    result.scatter(external.targets.arrays[0], scores, s=16, alpha=0.8, linewidth=0)
    result.spines[["top", "right"]].set_visible(False)
    result.set(xlabel="proliferation score", ylabel="model's answer")
    result.set_title(f"{len(scores)} patients of other labs\nSpearman {measured}", fontsize=10)
    plot.savefig("docs/phantom.png", dpi=80)


if __name__ == "__main__":
    main()
