"""The page of an ablation: leaderboard, claims with their verdicts, number of tasks, networks, and minutes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure as Plot

from nic.ablation.arms import Arm
from nic.ablation.claims import Claim, means_by_tasks, trend
from nic.ablation.measured import Measurements, interval
from nic.evaluation.figure import Estimate
from nic.evaluation.plots import GREY, HIGH, INK, LOW, SHORT_NAMES, empty_axes

DPI = 140
ORACLE = (
    "The oracle knows the truth of the phantom, but not the noise of the labels: a fraction of 1 is the oracle, 0 is "
    "guessing."
)
PERFECT = "A fraction of 1 is a perfect order of the patients, 0 is guessing."
COLOURS = {"several tasks": LOW, "all tasks": LOW, "unsupervised": HIGH}
GROUPS = {
    "reference": "no training",
    "unsupervised": "unsupervised",
    "one task": "one task",
    "several tasks": "several tasks",
    "all tasks": "all tasks",
    "published": "published",
}


@dataclass(frozen=True)
class AblationPage:
    """Everything that the page shows. network: by which encoders are compared. networks: further rows, encoder and
    network. minutes: of each encoder's training and compression, by arm. notes: sentences on how it was made. glimpses:
    where a network of glimpses looked at a slide."""

    study: str
    measured: Measurements
    arms: Sequence[Arm]
    network: str
    networks: Sequence[tuple[str, str]]
    claims: Sequence[Claim]
    minutes: Mapping[str, tuple[float, float]]
    notes: Sequence[str]
    glimpses: Plot | None = None

    def write(self, file: Path) -> list[Path]:
        """Write the page and its pictures beside it; all files."""
        file.parent.mkdir(parents=True, exist_ok=True)
        pictures = {"leaderboard": self.leaderboard(), "tasks": self.tasks(), "glimpses": self.glimpses}
        written = [file]
        for name, plot in pictures.items():
            if plot is not None:
                written.append(file.with_name(f"{file.stem}_{name}.png"))
                plot.savefig(written[-1], dpi=DPI, metadata={"Software": None})
        file.write_text(self.text(file.stem) + "\n")
        return written

    def text(self, stem: str) -> str:
        parts = [
            f"# Ablation of the study {self.study}",
            self._introduction(),
            "## Claims",
            _table(("claim", "what is compared", "difference [95% interval]", "verdict"), self._claims()),
            "A verdict follows from the interval alone: all above 0, the claim is supported; all below 0, it is not; "
            "else it is undecided. Differences are paired over patients, and take the seeds of the encoders that both "
            "sides have.",
            "## Encoders",
            f"Each encoder's codes with {self.network}; sorted by the mean fraction of the oracle.",
            f"![fraction of the oracle of each encoder]({stem}_leaderboard.png)",
            _table(("encoder", "taught", *self._columns(), "mean fraction", "minutes"), self._encoders()),
            *self._about_tasks(stem),
            "## Networks and other methods",
            "All on the same codes, those of the first training of each encoder.",
            _table(("codes", "network", *self._columns(), "mean fraction", "minutes"), self._others()),
            "The best of all on each endpoint, chosen by the measured patients:",
            _table(("endpoint", "codes", "network", "figure", "fraction of the oracle"), self._best()),
            f"![where a network of glimpses looked at a slide]({stem}_glimpses.png)" if self.glimpses else "",
            "## How it was made",
            *(f"- {note}" for note in self.notes),
        ]
        return "\n\n".join(part for part in parts if part).replace("\n\n- ", "\n- ")

    def _introduction(self) -> str:
        measured, patients = self.measured, self.measured.patients
        who = ", ".join(f"{len(ids)} for {name}" for name, ids in patients.items())
        known = any(endpoint.oracle is not None for endpoint in measured.endpoints.values())
        return (
            f"Measured patients: {who}. A figure is the mean over the seeds of the network and "
            f"of the encoder; its 95% interval is a bootstrap over patients and seeds. {ORACLE if known else PERFECT}"
        )

    def _columns(self) -> list[str]:
        figures = [self.measured.deciding(name).name for name in self.measured.endpoints]
        return [f"{name}, {SHORT_NAMES[figure]}" for name, figure in zip(self.measured.endpoints, figures, strict=True)]

    def _claims(self) -> list[list[str]]:
        return [[c.claim, c.measure, signed(c.difference), f"**{c.verdict}**"] for c in self.claims]

    def _sorted(self) -> list[Arm]:
        there = [arm for arm in self.arms if self.measured.has(arm.name, self.network)]
        return sorted(there, key=lambda arm: -self.measured.mean_fraction(arm.name, self.network)[0])

    def _encoders(self) -> list[list[str]]:
        rows = [
            ["oracle", "", *(str(self._estimate(n, self.measured.oracle(n))) for n in self.measured.endpoints), "1", ""]
        ]
        for arm in self._sorted():
            mean = self._mean_fraction(arm.name, self.network)
            training, compression = self.minutes.get(arm.name, (0.0, 0.0))
            networks = self.measured.seconds(arm.name, self.network) / 60
            minutes = f"{training:.0f} + {compression:.0f} + {networks:.0f}"
            figures = self._figures(arm.name, self.network)
            rows.append([arm.name, GROUPS[arm.group], *figures, str(mean), minutes])
        return rows

    def _others(self) -> list[list[str]]:
        on_same_codes = replace(self, measured=self.measured.on_shared_seeds(self.networks))
        return [on_same_codes._row(encoder, network) for encoder, network in self.networks]

    def _row(self, encoder: str, network: str) -> list[str]:
        minutes = f"{self.measured.seconds(encoder, network) / 60:.0f}"
        mean = str(self._mean_fraction(encoder, network)) if self.measured.has(encoder, network) else ""
        return [encoder, network, *self._figures(encoder, network), mean, minutes]

    def _best(self) -> list[list[str]]:
        """Of the encoders with the first network, and of the further rows."""
        measured, rows = self.measured, []
        pairs = dict.fromkeys([*((arm.name, self.network) for arm in self.arms), *self.networks])
        for endpoint in measured.endpoints:
            there = {(e, n): measured.figure(e, n, endpoint) for e, n in pairs if measured.measures(e, n, endpoint)}
            encoder, network = max(there, key=lambda pair: np.nan_to_num(there[pair][0], nan=-np.inf))
            fraction = measured.fraction(encoder, network, endpoint)
            estimates = (self._estimate(endpoint, draws) for draws in (there[encoder, network], fraction))
            rows.append([endpoint, encoder, network, *map(str, estimates)])
        return rows

    def _figures(self, encoder: str, network: str) -> list[str]:
        """A cell for each endpoint; empty where it was not measured."""

        def cell(endpoint: str) -> str:
            if not self.measured.measures(encoder, network, endpoint):
                return ""
            estimate = self._estimate(endpoint, self.measured.figure(encoder, network, endpoint))
            return str(estimate) if estimate.is_defined else "not defined: all answers are equal"

        return [cell(endpoint) for endpoint in self.measured.endpoints]

    def _estimate(self, endpoint: str, draws: np.ndarray) -> Estimate:
        return interval(self.measured.deciding(endpoint).name, draws, len(self.measured.patients[endpoint]))

    def _mean_fraction(self, encoder: str, network: str) -> Estimate:
        return interval("mean fraction", self.measured.mean_fraction(encoder, network), self.measured.n)

    def _about_tasks(self, stem: str) -> list[str]:
        by_count = means_by_tasks(self.measured, self._sorted(), self.network)
        if len(by_count) < 2:
            return []
        rows = [
            [str(number), str(interval("mean fraction", draws, self.measured.n))] for number, draws in by_count.items()
        ]
        slope = signed(interval("slope", trend(by_count), self.measured.n))
        return [
            "## Number of tasks",
            f"![mean fraction against the number of tasks]({stem}_tasks.png)",
            _table(("tasks", "mean fraction of the oracle"), rows),
            f"Each further task adds {slope} to the mean fraction (least squares, paired over patients).",
        ]

    def leaderboard(self) -> Plot:
        """A line for each encoder, best first: mean fraction with its interval, and the fraction of each endpoint."""
        arms = self._sorted()
        plot = Plot(figsize=(7.5, 1.1 + 0.27 * len(arms)), layout="constrained")
        axes = plot.subplots()
        means = [self._mean_fraction(arm.name, self.network) for arm in arms]
        lines = np.arange(len(arms))
        colours = [COLOURS.get(arm.group, INK) for arm in arms]
        axes.hlines(lines, [m.low for m in means], [m.high for m in means], color=colours, linewidth=2)
        axes.scatter([m.value for m in means], lines, color=colours, s=34, zorder=3, label="mean")
        for marker, endpoint in zip("^sDvP*X" * 5, self.measured.endpoints, strict=False):
            values = [self.measured.fraction(arm.name, self.network, endpoint)[0] for arm in arms]
            axes.scatter(values, lines, marker=marker, s=14, color=GREY, zorder=2, label=endpoint)
        axes.axvline(1, color=INK, linewidth=1, linestyle=":")
        axes.axvline(0, color=GREY, linewidth=1)
        axes.set_yticks(lines, [f"{arm.name} ({GROUPS[arm.group]})" for arm in arms])
        axes.set(xlabel="fraction of the oracle: 0 is guessing, 1 is the oracle", ylim=(len(arms) - 0.4, -0.6))
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0, labelsize=8)
        plot.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=6)
        return plot

    def tasks(self) -> Plot | None:
        """Mean fraction of each encoder against the number of its tasks, and the means with their intervals."""
        arms = self._sorted()
        by_count = means_by_tasks(self.measured, arms, self.network)
        if len(by_count) < 2:
            return None
        plot, axes = empty_axes("tasks that the encoder was taught", "mean fraction of the oracle")
        for arm in arms:
            if arm.tasks and len(arm.tasks) in by_count:
                axes.scatter(len(arm.tasks), self._mean_fraction(arm.name, self.network).value, s=18, color=GREY)
        means = [interval("mean", draws, self.measured.n) for draws in by_count.values()]
        numbers = list(by_count)
        axes.vlines(numbers, [m.low for m in means], [m.high for m in means], color=LOW, linewidth=2)
        axes.plot(numbers, [m.value for m in means], "o-", color=LOW)
        axes.set_xticks(numbers)
        return plot


def signed(estimate: Estimate) -> str:
    return f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
