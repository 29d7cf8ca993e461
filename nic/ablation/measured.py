"""What the cells of an ablation measure: figures and fractions of the oracle, with draws of patients and of seeds.

A figure is the mean over the seeds of an encoder and of a network. Its interval is a bootstrap of both levels: patients
are drawn with replacement, and so are seeds. The same draw of a cohort's patients is taken for everything that is
measured on them, so that differences are paired over patients.
"""

import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nic.ablation.ablation_cells import Cell, CellAnswers
from nic.errors import EmptyCohort
from nic.evaluation.endpoint_figures import deciding_figure
from nic.evaluation.figure import Estimate, Figure
from nic.patients.choices import Kind
from nic.patients.targets import Targets

Floats = NDArray[np.float64]
"""Of draws: [1 + R]. The first is the value of the patients and seeds themselves."""
DRAWS = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Measurable:
    """One endpoint on the patients who are measured. oracle: its scores; None where the truth is not known."""

    name: str
    kind: Kind
    cohort: str
    patients: tuple[str, ...]
    targets: Targets
    oracle: Floats | None

    def places(self, patients: Sequence[str]) -> NDArray[np.intp]:
        place = {patient: number for number, patient in enumerate(self.patients)}
        return np.array([place[patient] for patient in patients], np.intp)

    def of(self, patients: Sequence[str]) -> Targets:
        """The labels of some of the patients."""
        return self.targets.take(self.places(patients))


class Measurements:
    """Figures by encoder, network and endpoint.

    answers: of every cell. Patients count who are answered in all cells of an endpoint.
    """

    def __init__(
        self, endpoints: Sequence[Measurable], answers: Mapping[Cell, CellAnswers], *, draws: int = DRAWS, seed: int = 0
    ) -> None:
        self.endpoints = {endpoint.name: endpoint for endpoint in endpoints}
        self.answers, self.draws, self.seed = answers, draws, seed
        self._runs = defaultdict[tuple[str, str, str], dict[int, list[Cell]]](lambda: defaultdict(list))
        for cell in sorted(answers):
            self._runs[cell.encoder, cell.network, cell.endpoint][cell.encoder_seed].append(cell)

    @cached_property
    def patients(self) -> dict[str, tuple[str, ...]]:
        """Those who count, by endpoint. Raises EmptyCohort where no patient is answered in all cells."""
        everywhere = {name: set(endpoint.patients) for name, endpoint in self.endpoints.items()}
        for cell, of_cell in self.answers.items():
            everywhere[cell.endpoint] &= set(of_cell.patients)
        if empty := [name for name, ids in everywhere.items() if not ids]:
            raise EmptyCohort(f"endpoint {empty[0]}: no patient is answered by all networks on all encoders")
        return {name: tuple(p for p in self.endpoints[name].patients if p in ids) for name, ids in everywhere.items()}

    @property
    def n(self) -> int:
        """Patients of all endpoints."""
        return len({(self.endpoints[name].cohort, patient) for name, ids in self.patients.items() for patient in ids})

    @cached_property
    def _counts(self) -> dict[str, Floats]:
        """How often each patient of an endpoint is drawn, [1 + R, N]. Endpoints of a cohort share the draws."""
        of_cohort = defaultdict[str, list[str]](list)
        for name, ids in self.patients.items():
            cohort = of_cohort[self.endpoints[name].cohort]
            cohort += [patient for patient in ids if patient not in cohort]
        counts = {}
        for cohort_name, cohort in of_cohort.items():
            rng = np.random.default_rng([self.seed, zlib.crc32(cohort_name.encode())])
            drawn = rng.multinomial(len(cohort), np.full(len(cohort), 1 / len(cohort)), self.draws)
            place = {patient: number for number, patient in enumerate(cohort)}
            every = np.vstack([np.ones((1, len(cohort))), drawn])
            for name, ids in self.patients.items():
                if self.endpoints[name].cohort == cohort_name:
                    counts[name] = every[:, [place[patient] for patient in ids]]
        return counts

    @cached_property
    def _figures(self) -> dict[Cell, Figure]:
        """Of every cell, on the patients who count."""
        figures = {}
        for cell, answers in self.answers.items():
            endpoint, ids = self.endpoints[cell.endpoint], self.patients[cell.endpoint]
            place = {patient: number for number, patient in enumerate(answers.patients)}
            own = np.array([place[patient] for patient in ids], np.intp)
            fold = None if answers.fold is None else answers.fold[own]
            labels = endpoint.of(ids).arrays
            figures[cell] = deciding_figure(endpoint.kind, labels, answers.scores[own], fold)
        return figures

    @cached_property
    def _draws(self) -> dict[Cell, Floats]:
        return {cell: figure.of_draws(self._counts[cell.endpoint]) for cell, figure in self._figures.items()}

    def on_shared_seeds(self, pairs: Sequence[tuple[str, str]]) -> "Measurements":
        """Only these pairs of an encoder and a network, on the seeds of the encoder that all of them have.

        Two trainings of one encoder differ by more than two networks do, so a comparison takes the same ones.
        """
        seeds = [{c.encoder_seed for c in self.answers if (c.encoder, c.network) == pair} for pair in pairs]
        shared = set.intersection(*seeds) if seeds else set()
        answers = {
            cell: of_cell
            for cell, of_cell in self.answers.items()
            if (cell.encoder, cell.network) in pairs and cell.encoder_seed in shared
        }
        return Measurements(list(self.endpoints.values()), answers, draws=self.draws, seed=self.seed)

    def measures(self, encoder: str, network: str, endpoint: str) -> bool:
        return (encoder, network, endpoint) in self._runs

    def has(self, encoder: str, network: str) -> bool:
        """Whether all endpoints were measured with this network on the codes of this encoder."""
        return all(self.measures(encoder, network, endpoint) for endpoint in self.endpoints)

    def deciding(self, endpoint: str) -> Figure:
        """A figure of the endpoint, whose name and reference are those of all of them."""
        return next(figure for cell, figure in self._figures.items() if cell.endpoint == endpoint)

    def chance(self, endpoint: str) -> float:
        """What guessing gets."""
        reference = self.deciding(endpoint).reference
        assert reference is not None  # every deciding figure has one
        return reference

    def figure(self, encoder: str, network: str, endpoint: str) -> Floats:
        """Draws of the deciding figure, the mean over seeds."""
        by_seed = self._runs[encoder, network, endpoint].values()
        of_each = [np.stack([self._draws[cell] for cell in cells]) for cells in by_seed]
        # The endpoints of an encoder and a network have the same seeds, so they share the draws of seeds as well.
        name = f"{encoder} {network}"
        return _over_seeds(of_each, np.random.default_rng([self.seed, zlib.crc32(name.encode())]))

    def oracle(self, endpoint: str) -> Floats:
        """Draws of the oracle's figure; 1, the figure of a perfect order, where the truth is not known."""
        of, ids = self.endpoints[endpoint], self.patients[endpoint]
        if of.oracle is None:
            return np.ones(1 + self.draws)
        figure = deciding_figure(of.kind, of.of(ids).arrays, of.oracle[of.places(ids)])
        return figure.of_draws(self._counts[endpoint])

    def fraction(self, encoder: str, network: str, endpoint: str) -> Floats:
        """Draws of the share of what the oracle is above chance: 1 is the oracle, 0 is guessing.

        NaN in a draw whose oracle is no better than guessing.
        """
        chance, oracle = self.chance(endpoint), self.oracle(endpoint)
        return (self.figure(encoder, network, endpoint) - chance) / np.where(oracle > chance, oracle - chance, np.nan)

    def mean_fraction(self, encoder: str, network: str) -> Floats:
        """Draws of the mean fraction over all endpoints."""
        return np.asarray(np.mean([self.fraction(encoder, network, name) for name in self.endpoints], axis=0))

    def seconds(self, encoder: str, network: str) -> float:
        """Of the training of its networks, all endpoints and seeds together."""
        return sum(a.seconds for cell, a in self.answers.items() if (cell.encoder, cell.network) == (encoder, network))


def interval(name: str, draws: Floats, n: int, reference: float | None = None) -> Estimate:
    """The value with its percentile interval. Draws that do not define it are left out."""
    low, high = np.nanquantile(draws[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(name, float(draws[0]), float(low), float(high), LEVEL, n, reference)


def _over_seeds(of_each: Sequence[Floats], rng: np.random.Generator) -> Floats:
    """Mean over the seeds of an encoder, and over those of the network on each; drawn with replacement at both levels.

    of_each: of each seed of the encoder the draws of each seed of the network, [S, 1 + R].
    """
    draws = of_each[0].shape[1]
    encoders = rng.integers(len(of_each), size=(len(of_each), draws))
    encoders[:, 0] = np.arange(len(of_each))
    means = []
    for of_encoder in of_each:
        seeds = rng.integers(len(of_encoder), size=of_encoder.shape)
        seeds[:, 0] = np.arange(len(of_encoder))
        means.append(np.take_along_axis(of_encoder, seeds, axis=0).mean(0))
    return np.asarray(np.take_along_axis(np.stack(means), encoders, axis=0).mean(0))
