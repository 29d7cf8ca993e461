"""Glimpses: a network that looks at a few places of a slide, one after the other, and learns where to look next."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from nic.compression.compressed_slide import CompressedSlide
from nic.patients.crops import Batch, PatientCells, SlideCells, make_batch
from nic.patients.networks import SLOPE, Bottleneck, ExtraLoss, ThroughBottleneck, patient_scores

SEEN = 1e4
"""Taken from the logit of a place that was seen: more than logits differ, so that other places come first."""
Choice = Callable[[torch.Tensor], torch.Tensor]
"""From the logits of all cells, [S, N], the place of each slide's next glimpse, [S] int64."""


@dataclass(frozen=True)
class Walk:
    """The glimpses at S slides, G at each. Places count the N cells of the grid row by row.

    places: [S, G] int64. seen: [S, N], how many glimpses a cell was the middle of. state: [S, hidden], after the last
    glimpse. log_probability: [S, G - 1], of each place that the policy chose. expected: [S, G - 1], the baseline: the
    reward that was expected before each choice.
    """

    places: torch.Tensor
    seen: torch.Tensor
    state: torch.Tensor
    log_probability: torch.Tensor
    expected: torch.Tensor


class Glimpses(ThroughBottleneck):
    """A slide's score follows from a fixed number of glimpses. What earlier ones showed decides where the next one is.

    A glimpse shows 3x3 cells, and around them 3x3 means of 3x3 cells each. A GRU keeps what was shown; the score is
    linear in its last state. The first glimpse is in the middle of the tissue. For each next one, a policy compares the
    state with an overview of the slide, the mean of 3x3 cells around every cell, which gives each valid cell a
    probability. No place comes twice before all others were seen.

    In training, places are drawn. The loss is back-propagated through the states, and the policy learns by REINFORCE
    with a learned baseline, see `policy_loss`. Else the most probable place is taken, so that answers are determined.

    The map shows cells / glimpses * score of the slide at the middle of each glimpse, and 0 elsewhere. Its mean is the
    slide's score; slides of one patient weigh as many cells as they have. width: channels of a cell after the
    bottleneck. hidden: of the state. dropout: share of channels dropped after the bottleneck. outputs: C, scores.

    Of the kind of Mnih et al., Recurrent models of visual attention, NeurIPS 2014, and of Qaiser and Rajpoot, Learning
    where to see, IEEE TMI 2019. It does not repeat the settings of either.
    """

    def __init__(
        self,
        code_size: int,
        width: int = 16,
        hidden: int = 32,
        glimpses: int = 6,
        dropout: float = 0.2,
        outputs: int = 1,
    ) -> None:
        super().__init__(code_size)
        self.hidden, self.glimpses = hidden, glimpses
        self.bottleneck = Bottleneck(code_size, width, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.near = nn.Conv2d(width, hidden, 3, padding=1)
        self.far = nn.Conv2d(width, hidden, 3, padding=3, dilation=3)
        self.memory = nn.GRUCell(hidden, hidden)
        self.query = nn.Linear(hidden, width)
        self.baseline = nn.Linear(hidden, 1)
        self.head = nn.Linear(hidden, outputs)

    def scores(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """From the bottleneck's output [S, width, H, W]."""
        return self.maps(self.walk(x, valid, most_probable), valid)

    def training_pass(self, batch: Batch) -> tuple[torch.Tensor, ExtraLoss | None]:
        """Scores of drawn patients by places that are drawn too, [batch.patients, C], and the policy's loss."""
        x = self.bottleneck.of_cells(batch, self.mean, self.deviation)
        walk = self.walk(x, batch.valid, drawn_at_random)
        scores = patient_scores(self.maps(walk, batch.valid), batch.valid, batch.patient, batch.patients)
        return scores, partial(policy_loss, walk, batch.patient)

    def walk(self, x: torch.Tensor, valid: torch.Tensor, choose: Choice) -> Walk:
        """Look at the slides. x: the bottleneck's output [S, width, H, W]; where not valid it may be anything."""
        x = self.dropout(functional.leaky_relu(x, SLOPE)) * valid
        # Glass counts as 0, and has no mean, so that glass, padding and the grid's edge are one thing.
        overview = functional.avg_pool2d(x, 3, 1, 1) * valid
        # What a glimpse at each cell would show. The network knows what it shows at the chosen places alone.
        shown = functional.leaky_relu(self.near(x) + self.far(overview), SLOPE).flatten(2)  # [S, hidden, N]
        cells, inside = overview.flatten(2), valid.flatten(1) > 0
        number = torch.arange(cells.shape[2], device=x.device)
        place, state = middle_of_tissue(valid), x.new_zeros(len(x), self.hidden)
        seen = torch.zeros_like(valid).flatten(1)
        places, log_probabilities, expected = [], [], []
        for glimpse in range(self.glimpses):
            if glimpse:
                logit = (self.query(state)[:, None] @ cells)[:, 0].to(valid.dtype) / cells.shape[1] ** 0.5
                logit = (logit - SEEN * seen).masked_fill(~inside, -torch.inf)
                place = choose(logit)
                log_probabilities.append(logit.log_softmax(1).gather(1, place[:, None]))
                expected.append(self.baseline(state.detach()).to(valid.dtype))
            places.append(place)
            seen = seen + (number == place[:, None])
            at_place = place[:, None, None].expand(-1, self.hidden, 1)
            state = self.memory(shown.gather(2, at_place)[:, :, 0], state)
        return Walk(torch.stack(places, 1), seen, state, torch.cat(log_probabilities, 1), torch.cat(expected, 1))

    def maps(self, walk: Walk, valid: torch.Tensor) -> torch.Tensor:
        """The score of each slide at the places of its glimpses, [S, C, H, W]."""
        share = walk.seen * valid.sum(dim=(2, 3)) / self.glimpses  # [S, N]
        maps: torch.Tensor = self.head(walk.state)[:, :, None] * share[:, None]
        return maps.reshape(*maps.shape[:2], *valid.shape[2:])


def policy_loss(walk: Walk, patient: torch.Tensor, own_loss: torch.Tensor) -> torch.Tensor:
    """What teaches the policy and its baseline, summed over the slides: a scalar.

    REINFORCE: the gradient of log probability * (expected - reward) has the mean of the gradient of the expected loss,
    whatever is expected. The reward of a slide is minus its patient's loss. The baseline learns to expect it; it takes
    the states as they are. patient: [S] int64, whose the slide is. own_loss: [patients], without a graph.
    """
    reward = -own_loss[patient][:, None]
    surprise = walk.expected.detach() - reward
    of_policy = (walk.log_probability * surprise).sum()
    of_baseline = functional.mse_loss(walk.expected, reward.expand_as(walk.expected), reduction="sum")
    return of_policy + of_baseline / walk.expected.shape[1]


def glimpse_path(network: Glimpses, slide: CompressedSlide) -> NDArray[np.int64]:
    """Where the network looks at a slide, in its order: [G, 2], row and column on the slide's grid.

    Raises NoTissue when no cell has a code.
    """
    batch = make_batch([PatientCells(slide.slide_id, (SlideCells.of(slide),))])
    with torch.no_grad():
        x = network.bottleneck.of_cells(batch, network.mean, network.deviation)
        places = network.walk(x, batch.valid, most_probable).places[0].numpy()
    row, col = np.divmod(places, batch.valid.shape[3])
    return np.stack([row + slide.row.min(), col + slide.col.min()], axis=1).astype(np.int64)


def most_probable(logit: torch.Tensor) -> torch.Tensor:
    """The first of the cells with the highest logit."""
    return logit.argmax(1)


def drawn_at_random(logit: torch.Tensor) -> torch.Tensor:
    """A cell, by the probabilities of the policy."""
    return torch.multinomial(logit.detach().softmax(1), 1)[:, 0]


def middle_of_tissue(valid: torch.Tensor) -> torch.Tensor:
    """The valid cell that is nearest to the mean row and column of the valid cells: [S] int64.

    In whole numbers, so that no runtime rounds two equal distances apart.
    """
    inside = valid[:, 0] > 0
    rows, cols = (torch.arange(size, device=valid.device) for size in inside.shape[1:])
    count = inside.sum((1, 2)).clamp(min=1)
    row = (inside * rows[:, None]).sum((1, 2)) // count
    col = (inside * cols).sum((1, 2)) // count
    distance = (rows[:, None] - row[:, None, None]) ** 2 + (cols - col[:, None, None]) ** 2
    return distance.to(valid.dtype).masked_fill(~inside, torch.inf).flatten(1).argmin(1)
