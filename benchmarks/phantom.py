"""Speed of the phantom on one core: Mpx/s of drawing alone and with the pyramid written, at the scanner's mpp."""

import argparse
import tempfile
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np

from nic.phantom.breast import breast_plan
from nic.phantom.labs import LABS
from nic.phantom.liver import liver_layout, liver_plan
from nic.phantom.painting import paint
from nic.phantom.plan import Plan
from nic.phantom.pyramid import write_pyramid
from nic.phantom.synthetic_patients import breast_patients, liver_patients


def plans(per_cohort: int) -> list[tuple[Plan, str]]:
    """Some slides of both cohorts, laid out, with their labs."""
    made: list[tuple[Plan, str]] = []
    for slide in breast_patients(0, 2 * per_cohort, 0)[1][:per_cohort]:
        made.append((breast_plan(slide, np.random.default_rng(0)), slide.site))
    for slide in liver_patients(0, 2 * per_cohort, 0)[1][:per_cohort]:
        rng = np.random.default_rng(0)
        made.append((liver_plan(slide, liver_layout(slide, rng), rng), slide.site))
    return made


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    cv2.setNumThreads(1)
    for plan, site in plans(7):  # materials and stamps are drawn once a process
        paint(plan, LABS[site], np.random.default_rng(0))
    start = perf_counter()
    drawn = plans(7)
    laid_out = perf_counter()
    images = [(paint(plan, LABS[site], np.random.default_rng(1)), LABS[site]) for plan, site in drawn]
    painted = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for image, lab in images:
            write_pyramid(Path(folder) / "slide.tif", image, lab.mpp, lab.jpeg)
    written = perf_counter()
    mpx = sum(image.shape[0] * image.shape[1] for image, _ in images) / 1e6
    print(f"{mpx:.0f} Mpx in {len(images)} slides")
    for name, seconds in (("plan", laid_out - start), ("paint", painted - laid_out), ("write", written - painted)):
        print(f"{name:6s} {seconds:6.2f} s  {mpx / seconds:7.1f} Mpx/s")
    print(f"{'all':6s} {written - start:6.2f} s  {mpx / (written - start):7.1f} Mpx/s")


if __name__ == "__main__":
    main()
