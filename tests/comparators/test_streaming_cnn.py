"""The streaming CNN learns labels from pixels, the same by tiles as at once, and goes on where it was killed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tissue_image, write_slide
from scipy.stats import spearmanr

from nic.comparators.pixel_slides import PixelEncoder, PixelSlide
from nic.comparators.slide_colours import SlideColours
from nic.comparators.streaming_cnn import (
    StreamingCNN,
    StreamingOptions,
    fit_streaming,
    network_scores,
    slides_of,
    streaming_scores,
)
from nic.errors import OneClass, UnreadableSlide
from nic.patients.cohort import Labelled, Patient, SlideRow
from nic.patients.crops import PatientCells, SlideCells
from nic.patients.targets import Classes, Survival, Targets, Values
from nic.slides.slide import SlideSource
from nic.tasks.augment import HEAVY, recoloured

PX = 32


class Killed(Exception):
    """In place of a kill, where what is tested is what the state holds."""


def cells_of(image: np.ndarray, tissue: np.ndarray) -> SlideCells:
    """The cells of tissue of an image [rows * PX, cols * PX, 3]."""
    rows, cols = tissue.shape
    tiles = image.reshape(rows, PX, cols, PX, 3).swapaxes(1, 2)[tissue]
    codes = PixelEncoder(2.0, PX).encode(tiles).astype(np.float16)
    row, col = np.nonzero(tissue)
    return SlideCells(torch.from_numpy(codes), torch.from_numpy(row), torch.from_numpy(col))


def dotted(share: float, rng: np.random.Generator, cells: int = 2) -> np.ndarray:
    """Tissue with dark dots of 4 px on that share of its places."""
    places = rng.random((cells * 4, cells * 4)) < share
    dark = np.kron(places, np.pad(np.ones((4, 4)), ((0, 4), (0, 4))))[..., None]
    image = 190 + rng.normal(0, 6, (cells * PX, cells * PX, 3)) - 110 * dark
    return image.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def patients() -> tuple[list[PatientCells], np.ndarray]:
    """12 patients, and of each the share of places with a dot; one in three has two slides."""
    rng, shares = np.random.default_rng(0), np.linspace(0.05, 0.6, 12)
    everywhere = np.ones((2, 2), bool)
    return [
        PatientCells(str(n), tuple(cells_of(dotted(share, rng), everywhere) for _ in range(1 + (n % 3 == 0))))
        for n, share in enumerate(shares)
    ], shares


def targets_of(kind: str, share: np.ndarray) -> Targets:
    if kind == "regression":
        return Values(100 + 20 * share)
    if kind == "classification":
        return Classes(share > 0.3, ("few", "many"))
    return Survival(60 * (1 - share), np.arange(len(share)) % 4 > 0)


@pytest.mark.parametrize("number", range(8))
def test_a_window_shows_a_d4_variant_of_the_slide_on_white(number: int) -> None:
    rng = np.random.default_rng(1)
    image, tissue = rng.integers(0, 255, (3 * PX, 4 * PX, 3), dtype=np.uint8), rng.random((3, 4)) < 0.7
    tissue[0, 0] = tissue[2, 3] = True
    shown = np.where(np.kron(tissue, np.ones((PX, PX)))[..., None] > 0, image, 255)
    shown = shown[::-1] if number & 1 else shown
    shown = shown[:, ::-1] if number & 2 else shown
    shown = shown.swapaxes(0, 1) if number & 4 else shown
    beyond = np.pad(shown, ((50, 50), (50, 50), (0, 0)), constant_values=255)
    slide = PixelSlide(cells_of(image, tissue), PX, number)
    for top, left, height, width in ((-50, -50, 196, 196), (5, 40, 60, 17), (-33, 60, 50, 70)):
        expected = beyond[50 + top : 50 + top + height, 50 + left : 50 + left + width]
        window = slide.window(top, left, min(height, len(beyond)), width)
        np.testing.assert_array_equal(window.permute(1, 2, 0).numpy()[: len(expected), : expected.shape[1]], expected)


@pytest.mark.parametrize("seed", range(3))
def test_colours_change_as_those_of_a_tile(seed: int) -> None:
    """But for what contrast keeps: a colour of its own for each tile, which is a constant here."""
    pixels = 0.4 + 0.3 * torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(seed))
    tile = recoloured(pixels[None], HEAVY, torch.Generator().manual_seed(seed))[0]
    colours = SlideColours.drawn(pixels.mean((1, 2)), seed)
    difference = colours.of(pixels.clone()) - tile
    assert difference.std((1, 2)).max() < 1e-5
    assert difference.abs().max() < 5e-3
    assert (tile - pixels).abs().max() > 0.02


def test_a_patients_gradient_is_that_of_whole_slides() -> None:
    """With augmentation, tissue of any outline, and two slides; the map's mean over the tissue is the score."""
    rng = np.random.default_rng(2)
    slides = []
    for rows, cols in ((5, 7), (3, 2)):
        tissue = rng.random((rows, cols)) < 0.7
        tissue[0, 0] = tissue[-1, -1] = True
        slides.append(cells_of(rng.integers(0, 255, (rows * PX, cols * PX, 3), dtype=np.uint8), tissue))
    patient = PatientCells("p", tuple(slides))
    torch.manual_seed(0)
    network = StreamingCNN(2)
    network.start_from([patient])
    colours = SlideColours.drawn(network.mean, 3)
    gradients, scores = [], []
    for tile_px in (64, 10_000):
        network.zero_grad()
        score = network.patient_score(slides_of(network, patient, 5), tile_px, colours)
        (score * torch.tensor([1.0, -2.0])).sum().backward()
        gradients.append([weight.grad.clone() for weight in network.parameters()])
        scores.append(score.detach())
    largest = max(float(gradient.abs().max()) for gradient in gradients[1])
    for ours, theirs in zip(*gradients, strict=True):
        assert float((ours - theirs).abs().max()) <= 1e-4 * largest
    torch.testing.assert_close(*scores, rtol=0, atol=1e-5)
    maps = [network.map_of(slide, 64, colours) for slide in slides_of(network, patient, 5)]
    cells = torch.cat(
        [score[:, slide.tissue] for score, slide in zip(maps, slides_of(network, patient, 5), strict=True)], 1
    )
    torch.testing.assert_close(cells.mean(1), scores[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["regression", "survival"])
def test_a_planted_signal_is_found_in_the_right_direction(patients, tmp_path: Path, kind: str) -> None:
    cells, share = patients
    epochs = 16 if kind == "survival" else 8  # an epoch of survival is one step
    losses: list[float] = []
    options = StreamingOptions(epochs=epochs, learning_rate=1e-3)
    network = fit_streaming(cells, targets_of(kind, share), options, 0, tmp_path, lambda _, loss: losses.append(loss))
    assert len(losses) == epochs
    assert losses[-1] < losses[0]
    assert spearmanr(share, network_scores(network, cells, 512))[0] > 0.8


def test_a_killed_training_resumes_to_the_same_network(patients, tmp_path: Path) -> None:
    cells, share = patients
    targets, options = targets_of("classification", share).take(np.arange(4, 8)), StreamingOptions(epochs=3)
    epochs: list[int] = []

    def killed(epoch: int, loss: float) -> None:
        epochs.append(epoch)
        if epoch == 1:
            raise Killed

    undisturbed = fit_streaming(cells[4:8], targets, options, 4, tmp_path / "a")
    with pytest.raises(Killed):
        fit_streaming(cells[4:8], targets, options, 4, tmp_path / "b", killed)
    resumed = fit_streaming(cells[4:8], targets, options, 4, tmp_path / "b", lambda epoch, _: epochs.append(epoch))
    assert epochs == [0, 1, 2]
    other = fit_streaming(cells[4:8], targets, options, 5, tmp_path / "b")
    for name, weight in undisturbed.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name])
    assert not torch.equal(undisturbed.head.weight, other.head.weight)


def test_labels_of_one_class_are_refused(patients, tmp_path: Path) -> None:
    cells, _ = patients
    with pytest.raises(OneClass):
        fit_streaming(cells, Classes(np.ones(12, bool), ("few", "many")), StreamingOptions(), 0, tmp_path)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Labelled, Labelled]:
    """Four training and two external patients with a slide each, at 1 um/px."""
    folder = tmp_path_factory.mktemp("slides")
    members = []
    for number in range(6):
        path = write_slide(folder / f"s{number}.tif", tissue_image(512, 448, seed=number), mpp=1.0)
        rows = (SlideRow(number + 2, SlideSource(path.stem, path), {}),)
        members.append(Patient(f"P{number}", "train" if number < 4 else "external", rows))
    values = np.array([1.0, 2.0, 3.0, 4.0, 2.0, 3.0])
    return Labelled(tuple(members[:4]), Values(values[:4]), ()), Labelled(tuple(members[4:]), Values(values[4:]), ())


def test_scores_of_external_patients_come_from_their_slides(cohort, tmp_path: Path) -> None:
    """In the unit of the endpoint; a second call reads no slide and trains no epoch."""
    epochs: list[int] = []
    options = StreamingOptions(epochs=2, learning_rate=1e-4)
    calls = [streaming_scores(*cohort, options, 0, tmp_path, lambda epoch, _: epochs.append(epoch)) for _ in range(2)]
    assert calls[0].shape == (2,)
    assert epochs == [0, 1]
    np.testing.assert_array_equal(*calls)
    assert (np.abs(calls[0] - 2.5) < 2).all()  # the mean of the training, and little else after two epochs
    assert calls[0][0] != calls[0][1]


def test_a_patient_whose_slide_cannot_be_read_is_named(cohort, tmp_path: Path) -> None:
    train, external = cohort
    (tmp_path / "bad.tif").write_bytes(b"II*\0nothing")
    rows = (SlideRow(2, SlideSource("bad", tmp_path / "bad.tif"), {}),)
    broken = Labelled((Patient("P9", "external", rows),), external.targets.take(np.array([0])), ())
    with pytest.raises(UnreadableSlide, match=r"P9 .*quarantine\.csv"):
        streaming_scores(train, broken, StreamingOptions(epochs=1), 0, tmp_path / "work", lambda *_: None)
    assert "bad" in (tmp_path / "work" / "pixels" / "quarantine.csv").read_text()
