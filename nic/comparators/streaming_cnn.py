"""A small CNN that learns a patient's label from the pixels of the slides, end to end, by streaming.

A comparator of the paper: no encoder, no codes, no tile tasks. The network is additive like the grid models, on the
same cells of tissue: each cell of its output map has a score, and a patient's score is their mean.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import OneCycleLR

from nic.comparators.pixel_slides import CHANNELS, PixelEncoder, PixelSlide
from nic.comparators.slide_colours import SlideColours
from nic.comparators.streaming import Window, receptive_field, stream
from nic.compression.compress_cohort import compress_cohort
from nic.errors import EndpointError, UnreadableSlide
from nic.patients.cohort import Labelled, Patient
from nic.patients.crops import PatientCells, gather_cells
from nic.patients.targets import Survival, Targets, check_teachable, scores_for
from nic.patients.training import Scored, backward_of_all, backward_of_mean, optimizer_of, reported_scale
from nic.patients.training_loss import loss_of
from nic.shared_files import drafted
from nic.slides.d4 import D4_VARIANTS
from nic.training_device import keep_freed_memory, training_device

SLOPE = 0.1
BATCH_PATIENTS = 4
"""Of a step. Few, because the time of an epoch is that of its pixels: more steps cost nothing."""
SAMPLED_CELLS = 16
"""Of each slide, from which the mean and the deviation of the channels are estimated."""


@dataclass(frozen=True)
class StreamingOptions:
    """How the network is trained. mpp: um/px of the pixels; at 2 a cell of the map has the side of the encoder's tiles,
    64 um. tile_px: most pixels along a tile, without its margin; it bounds the memory. learning_rate: peak of the
    one-cycle schedule."""

    mpp: float = 2.0
    tile_px: int = 512
    epochs: int = 40
    learning_rate: float = 1e-3


def streaming_scores(
    train: Labelled,
    external: Labelled,
    options: StreamingOptions,
    seed: int,
    folder: Path,
    on_epoch: Callable[[int, float], None],
) -> NDArray[np.float64]:
    """The scores of the external patients by a network that is trained on the others: [N], of several classes [N, C].

    Scores are as those of `nic.patients.training.scores_of`: a value in the endpoint's unit, log odds, or a log hazard.
    folder: holds the pixels of the tissue and the state after each epoch; trainings of one mpp may share it. A call
    that was killed goes on from there, and ends with the same scores; the caller removes the folder.
    on_epoch: called with (epoch, loss). Raises UnreadableSlide when a patient has no slide that can be read,
    EndpointError when nothing can be learned from the labels, or the training diverges.
    """
    network = StreamingCNN(scores_for(train.targets))
    patients = (*train.patients, *external.patients)
    encoder = PixelEncoder(options.mpp, network.field.stride_px)
    compress_cohort([slide for patient in patients for slide in patient.slides], encoder, folder / "pixels")
    cells = pixels_of(patients, folder / "pixels")
    taught, others = cells[: len(train.patients)], cells[len(train.patients) :]
    network = fit_streaming(taught, train.targets, options, seed, folder / "state", on_epoch)
    factor, offset = reported_scale(train.targets, lambda: network_scores(network, taught, options.tile_px))
    scores = factor * network_scores(network, others, options.tile_px) + offset
    return scores if scores.ndim == 1 else scores - scores.mean(1, keepdims=True)


def pixels_of(patients: Sequence[Patient], folder: Path) -> tuple[PatientCells, ...]:
    """The patients' cells of pixels. Raises UnreadableSlide when a patient has none."""
    gathered = gather_cells(patients, folder)
    if not gathered.has_codes.all():
        without = ", ".join(
            patient.patient_id for patient, has in zip(patients, gathered.has_codes, strict=True) if not has
        )
        raise UnreadableSlide(f"no slide of {without} can be read; see {folder / 'quarantine.csv'}")
    return gathered.cells


class StreamingCNN(nn.Module):
    """Convolutions to a map of one cell for 32 x 32 px, and a linear head, whose mean over the tissue is the score.

    outputs: C, how many scores a patient has. There is no normalisation, whose statistics would be those of a tile:
    weights begin as He et al. 2015 scale them, and pixels are standardised by `mean` and `deviation`, [3].
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        # Channels in and out, kernel, stride. Most of the time goes into the first four: the map shrinks fast.
        plan = ((3, 16, 5, 2), (16, 32, 3, 2), (32, 32, 3, 1), (32, 48, 3, 2), (48, 64, 3, 2), (64, 64, 3, 2))
        layers: list[nn.Module] = []
        for source, target, kernel, stride in plan:
            convolution = nn.Conv2d(source, target, kernel, stride)
            nn.init.kaiming_normal_(convolution.weight, SLOPE)
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
            layers += [convolution, nn.LeakyReLU(SLOPE, inplace=True)]
        self.features = nn.Sequential(*layers)
        self.field = receptive_field(self.features)
        self.head = nn.Conv2d(plan[-1][1], outputs, 1)
        self.register_buffer("mean", torch.zeros(CHANNELS))
        self.register_buffer("deviation", torch.ones(CHANNELS))

    def start_from(self, patients: Sequence[PatientCells]) -> None:
        """Standardise by pixels of the training slides, the same number of cells from each."""
        cells = (slide.opened().codes for patient in patients for slide in patient.slides)
        some = torch.cat([codes[:: max(1, len(codes) // SAMPLED_CELLS)].float() for codes in cells])
        deviation, mean = torch.std_mean(some.view(-1, CHANNELS), dim=0)
        self.mean.copy_(mean / 255)
        self.deviation.copy_(deviation / 255)

    def map_of(self, slide: PixelSlide, tile_px: int, colours: SlideColours | None = None) -> Tensor:
        """The score of each cell, [C, rows, cols], 0 where there is no tissue. colours: of an augmentation."""

        def window(top: int, left: int, height: int, width: int) -> Tensor:
            pixels = slide.window(top, left, height, width).to(self.mean.device).div_(255)
            if colours is not None:
                pixels = colours.of(pixels)
            return pixels.sub_(self.mean[:, None, None]).div_(self.deviation[:, None, None])

        return self.scores(window, slide.tissue, tile_px)

    def scores(self, window: Window, tissue: NDArray[np.bool_], tile_px: int) -> Tensor:
        """As map_of, of standardised pixels."""
        features = stream(self.features, window, tissue, tile_px)
        scores: Tensor = self.head(features[None])[0]
        return scores * torch.from_numpy(tissue).to(scores.device)

    def patient_score(self, slides: Sequence[PixelSlide], tile_px: int, colours: SlideColours | None = None) -> Tensor:
        """The mean over the tissue of all slides of a patient, [C]."""
        total = torch.stack([self.map_of(slide, tile_px, colours).sum((1, 2)) for slide in slides]).sum(0)
        return total / sum(int(slide.tissue.sum()) for slide in slides)


def fit_streaming(
    patients: Sequence[PatientCells],
    targets: Targets,
    options: StreamingOptions,
    seed: int,
    state: Path,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
) -> StreamingCNN:
    """A network trained on these patients, on a GPU where there is one; the same for the same seed.

    An epoch shows every patient once, in a new order, D4 variant and staining. A step of AdamW takes BATCH_PATIENTS
    patients; a step of survival takes all, whose scores Cox compares, in two passes. state: a folder for what the
    training is after each epoch; the same training goes on from there. Raises EndpointError.
    """
    check_teachable(targets, "patients of the training")
    keep_freed_memory()
    torch.manual_seed(seed)
    device, loss = training_device(), loss_of(targets)
    network = StreamingCNN(scores_for(targets))
    network.start_from(patients)
    network.to(device)
    if loss.link:
        loss.link.to(device)
    learned = [*network.parameters(), *loss.parameters()]
    whole = isinstance(targets, Survival)
    steps = 1 if whole else -(-len(patients) // BATCH_PATIENTS)
    optimizer = optimizer_of(learned, device, options.learning_rate)
    rate = OneCycleLR(optimizer, options.learning_rate, total_steps=options.epochs * steps)
    file = state / f"{_key(network, patients, targets, options, seed)}.pt"
    parts: dict[str, Any] = {
        "network": network,
        "optimizer": optimizer,
        "rate": rate,
        **({"link": loss.link} if loss.link else {}),
    }
    for epoch in range(_resumed(file, parts), options.epochs):
        rng = np.random.default_rng([seed, epoch])
        losses = []
        for part in np.array_split(rng.permutation(len(patients)), steps):
            seeds = rng.integers(2**31, size=len(part))
            passes = [_scored(network, patients, part, seeds, options.tile_px) for _ in range(2 if whole else 1)]
            optimizer.zero_grad()
            losses.append(backward_of_all(loss, passes) if whole else backward_of_mean(loss, passes[0], len(part)))
            clip_grad_norm_(learned, 1.0)
            optimizer.step()
            rate.step()
        value = float(torch.stack(losses).mean())
        if not math.isfinite(value):
            raise EndpointError(
                f"training diverged in epoch {epoch}; lower learning_rate, now {options.learning_rate:g}"
            )
        with drafted(file) as draft:
            torch.save({"epochs": epoch + 1, **{name: part.state_dict() for name, part in parts.items()}}, draft)
        on_epoch(epoch, value)
    return network.eval()


def network_scores(network: StreamingCNN, patients: Sequence[PatientCells], tile_px: int) -> NDArray[np.float64]:
    """The score of each patient as the loss takes it, [N]; of several classes [N, C]."""
    with torch.no_grad():
        scores = [network.patient_score(slides_of(network, patient), tile_px) for patient in patients]
    numbers: NDArray[np.float64] = torch.stack(scores).double().cpu().numpy()
    return numbers[:, 0] if numbers.shape[1] == 1 else numbers


def slides_of(network: StreamingCNN, patient: PatientCells, d4_number: int = 0) -> list[PixelSlide]:
    """The slides of a patient, in one D4 variant."""
    return [PixelSlide(slide.opened(), network.field.stride_px, d4_number) for slide in patient.slides]


def _scored(
    network: StreamingCNN,
    patients: Sequence[PatientCells],
    part: NDArray[np.intp],
    seeds: NDArray[np.int64],
    tile_px: int,
) -> Iterator[Scored]:
    """One pass over some patients; the same for the same seeds."""
    for number, seed in zip(part, seeds, strict=True):
        colours, d4_number = SlideColours.drawn(network.mean, int(seed)), int(seed) % D4_VARIANTS
        slides = slides_of(network, patients[number], d4_number)
        yield Scored(network.patient_score(slides, tile_px, colours)[None], torch.tensor([number]))


def _key(
    network: StreamingCNN, patients: Sequence[PatientCells], targets: Targets, options: StreamingOptions, seed: int
) -> str:
    """Of all that decides the result of a training: network, options, patients, labels."""
    content = hashlib.sha256(f"{network} {options} {seed} {[patient.patient_id for patient in patients]}".encode())
    for labels in targets.arrays:
        content.update(labels.tobytes())
    return content.hexdigest()[:16]


def _resumed(file: Path, parts: dict[str, Any]) -> int:
    """Load the state of a training, if there is one; the number of epochs that it has had."""
    if not file.is_file():
        return 0
    state = torch.load(file, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return int(state["epochs"])
