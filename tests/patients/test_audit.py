"""Each leak is found and named; a sound cohort passes without a word."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from nic.errors import LeakFound
from nic.patients import audit as audit_module
from nic.patients.audit import EXTERNAL, AuditedSlide, check_leaks, slides_to_audit
from nic.patients.cohort_table import read_cohort
from nic.slides.d4 import d4_variant


def picture(seed: int) -> np.ndarray:
    """Tissue of a shape of its own on glass, [90, 120, 3]."""
    noise = np.random.default_rng(seed).normal(size=(6, 8)).astype(np.float32)
    tissue = cv2.resize(noise, (120, 90), interpolation=cv2.INTER_CUBIC) > 0
    return np.where(tissue[..., None], (190, 90, 160), 245).astype(np.uint8)


def jpeg(image: np.ndarray, quality: int = 85) -> np.ndarray:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]


@pytest.fixture
def audit(slide_of: Callable[..., object], tmp_path: Path) -> Callable[..., None]:
    """audit(*(patient, part, fingerprint, picture), ...): the audit of one slide each, on their files."""

    def run(*rows: tuple[str, str, str, np.ndarray | None], **tile_origins: frozenset[str]) -> None:
        lines = ["patient,slide,split"]
        for number, (patient, _, fingerprint, overview) in enumerate(rows):
            slide = slide_of(np.ones((2, 2), int), np.random.default_rng(number), f"s{number}")
            replace(slide, fingerprint=fingerprint, overview=overview).save(tmp_path / f"s{number}.h5")
            lines.append(f"{patient},s{number}.svs,train")
        (tmp_path / "c.csv").write_text("\n".join(lines))
        patients = read_cohort(tmp_path / "c.csv").patients
        check_leaks(slides_to_audit(patients, [part for _, part, _, _ in rows], tmp_path), tile_origins)

    return run


def test_different_patients_slides_and_pictures_pass(audit: Callable[..., None]) -> None:
    rows = [(f"P{n}", EXTERNAL if n > 5 else f"fold {n % 3}", f"f{n}", jpeg(picture(n))) for n in range(12)]
    audit(*rows, mitosis=frozenset({"other", "P1"}))


@pytest.mark.parametrize(("one", "other"), [("TCGA-A1-07", "tcga a1 7"), ("P-12", "P-012")])
def test_a_patient_under_two_spellings_in_two_parts_is_a_leak(audit: Callable[..., None], one: str, other: str) -> None:
    with pytest.raises(LeakFound, match=f"one patient name: s0 of patient {one} in fold 0 and s1 .* in external"):
        audit((one, "fold 0", "a", None), (other, EXTERNAL, "b", None))
    audit((one, "fold 0", "a", None), (other, "fold 0", "b", None))


def test_names_that_differ_in_more_than_spelling_are_two_patients(audit: Callable[..., None]) -> None:
    audit(("P1-12", "fold 0", "a", None), ("P11-2", "fold 1", "b", None), ("P1-12b", "fold 2", "c", None))


def test_one_slide_file_under_two_names_is_a_leak(audit: Callable[..., None]) -> None:
    with pytest.raises(LeakFound, match="one slide file: s0 of patient A in fold 0 and s1 of patient B in fold 1"):
        audit(("A", "fold 0", "same", None), ("B", "fold 1", "same", None))


@pytest.mark.parametrize("turn", range(8))
def test_a_slide_saved_again_turned_and_recoloured_is_a_leak(audit: Callable[..., None], turn: int) -> None:
    original = picture(0)
    square = cv2.resize(original, (100, 100))
    again = cv2.GaussianBlur(d4_variant(square[None], turn)[0], (3, 3), 0) * 0.8 + 30
    with pytest.raises(LeakFound, match="one picture: s0 of patient A in fold 0 and s1 of patient B in external"):
        audit(("A", "fold 0", "a", jpeg(square)), ("B", EXTERNAL, "b", jpeg(again.astype(np.uint8), 40)))


def test_empty_pictures_are_not_held_to_be_one_slide(audit: Callable[..., None]) -> None:
    white = jpeg(np.full((50, 50, 3), 255, np.uint8))
    audit(("A", "fold 0", "a", white), ("B", "fold 1", "b", white), ("C", "fold 1", "c", None))


@pytest.mark.parametrize("origin", ["s1", "B", "b"])
def test_a_test_slide_that_taught_the_encoder_is_a_leak(audit: Callable[..., None], origin: str) -> None:
    """By the slide's name, its patient's, or its file's fingerprint."""
    with pytest.raises(LeakFound, match="tiles of task mitosis are from s1 of patient B in external"):
        audit(("A", "fold 0", "a", None), ("B", EXTERNAL, "b", None), mitosis=frozenset({"x", origin}))


def test_patients_without_codes_are_held_against_by_name(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("patient,slide,split\nA-1,s0.svs,train\na 01,s1.svs,external\n")
    slides = slides_to_audit(read_cohort(tmp_path / "c.csv").patients, ["fold 0", EXTERNAL], tmp_path)
    assert [(slide.fingerprint, slide.picture) for slide in slides] == [("", None)] * 2
    with pytest.raises(LeakFound, match="one patient name: s0 of patient A-1 in fold 0 and s1 of patient a 01"):
        check_leaks(slides, {})
    with pytest.raises(LeakFound, match="tiles of task mitosis are from s1"):
        check_leaks(slides[1:], {"mitosis": frozenset({"s1"})})


def test_pictures_are_compared_block_by_block_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle: NumPy's correlation of every pair in every turn."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (32, 32), np.uint8) for _ in range(12)]
    pictures += [d4_variant(pictures[place][None], turn)[0] for place, turn in ((1, 3), (7, 6), (11, 0))]
    alike = {
        (i, j)
        for i in range(15)
        for j in range(i + 1, 15)
        if max(np.corrcoef(d4_variant(pictures[i][None], t).ravel(), pictures[j].ravel())[0, 1] for t in range(8))
        > 0.97
    }
    assert alike == {(1, 12), (7, 13), (11, 14)}
    for block in (1, 4, 5, 128):
        monkeypatch.setattr(audit_module, "COMPARED_AT_ONCE", block)
        assert set(audit_module._alike(pictures)) == alike


def test_the_audit_of_thousands_of_slides_fits_into_memory() -> None:
    """All pairs at once would take 8 x 2,000 x 2,000 numbers: 256 MB."""
    rng = np.random.default_rng(0)
    pictures = list(rng.integers(0, 256, (2000, 32, 32), np.uint8))
    tracemalloc.start()
    assert list(audit_module._alike(pictures)) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


def test_every_leak_is_named_at_once() -> None:
    slides = [AuditedSlide(f"s{n}", f"p{n}", f"fold {n % 2}", f"f{n // 2}", None) for n in range(6)]
    with pytest.raises(LeakFound, match="3 leaks") as found:
        check_leaks(slides, {})
    assert all(slide.slide_id in str(found.value) for slide in slides)
