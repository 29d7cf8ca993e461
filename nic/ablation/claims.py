"""The claims of the paper, each tested by a difference that is paired over patients and over seeds of the encoder."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nic.ablation.arms import NO_COLOUR, TUNED, UNIFORM, Arm
from nic.ablation.measured import Floats, Measurements, interval
from nic.evaluation.figure import Estimate

Verdict = Literal["supported", "not supported", "undecided"]
FRACTION = "mean fraction of the oracle"


@dataclass(frozen=True)
class Claim:
    """claim: a sentence. measure: what is compared, in words. difference: it should be above 0."""

    claim: str
    measure: str
    difference: Estimate

    @property
    def verdict(self) -> Verdict:
        """By the 95% interval of the difference: all above 0, all below 0, or both."""
        if self.difference.low > 0:
            return "supported"
        return "not supported" if self.difference.high < 0 else "undecided"


def claims_of(measured: Measurements, arms: Sequence[Arm], network: str, rival: str) -> list[Claim]:
    """Those that the arms at hand can test. network: of the encoders' comparison. rival: a MIL network."""
    at_hand = [arm for arm in arms if measured.has(arm.name, network)]
    return [
        *_of_encoders(measured, at_hand, network),
        *_of_number_of_tasks(measured, at_hand, network),
        *_of_networks(measured, at_hand, network, rival),
        *_of_outcomes(measured, at_hand, network),
    ]


def best(measured: Measurements, arms: Sequence[Arm], network: str) -> Arm | None:
    """The arm with the highest mean fraction; None where there is none."""
    return max(arms, key=lambda arm: measured.mean_fraction(arm.name, network)[0], default=None)


def multitask_arm(arms: Sequence[Arm]) -> Arm | None:
    """The encoder of all tasks, with tuned weights where there is one."""
    by_name = {arm.name: arm for arm in arms}
    return by_name.get(TUNED, by_name.get(UNIFORM))


def _of_encoders(measured: Measurements, arms: Sequence[Arm], network: str) -> Iterator[Claim]:
    names, every = {arm.name for arm in arms}, multitask_arm(arms)

    def compared(claim: str, first: str, second: str, kind: str) -> Claim:
        both = measured.on_shared_seeds([(first, network), (second, network)])
        difference = both.mean_fraction(first, network) - both.mean_fraction(second, network)
        return Claim(claim, f"{FRACTION}, {first} less {second}{kind}", _interval(measured, difference))

    for group, claim in (
        ("unsupervised", "An encoder taught by several tasks is better than an unsupervised one."),
        ("one task", "An encoder taught by several tasks is better than one taught by a single task."),
    ):
        rival = best(measured, [arm for arm in arms if arm.group == group], network)
        if every and rival:
            yield compared(claim, every.name, rival.name, ", the best of its kind")
    if {UNIFORM, NO_COLOUR} <= names:
        yield compared("Heavy colour augmentation helps on slides of other laboratories.", UNIFORM, NO_COLOUR, "")
    if {UNIFORM, TUNED} <= names:
        yield compared("Tuned task weights are better than equal ones.", TUNED, UNIFORM, "")


def _of_number_of_tasks(measured: Measurements, arms: Sequence[Arm], network: str) -> Iterator[Claim]:
    by_count = means_by_tasks(measured, arms, network)
    if len(by_count) > 2:
        slope = trend(by_count)
        words = f"rise of the {FRACTION} with each further task, equal weights"
        yield Claim("The more tasks an encoder is taught, the better it is.", words, _interval(measured, slope))


def means_by_tasks(measured: Measurements, arms: Sequence[Arm], network: str) -> dict[int, Floats]:
    """Draws of the mean fraction over the encoders of so many tasks, by their number; weights are equal in all."""
    counted = [arm for arm in arms if arm.tasks and arm.name not in (TUNED, NO_COLOUR)]
    numbers = sorted({len(arm.tasks) for arm in counted})
    return {
        number: np.mean([measured.mean_fraction(a.name, network) for a in counted if len(a.tasks) == number], axis=0)
        for number in numbers
    }


def trend(by_count: dict[int, Floats]) -> Floats:
    """Slope of the least-squares line over the numbers of tasks, in each draw."""
    numbers = np.array(sorted(by_count), float)
    centred = numbers - numbers.mean()
    return np.asarray(centred @ np.stack([by_count[int(number)] for number in numbers]) / (centred**2).sum())


def _of_networks(measured: Measurements, arms: Sequence[Arm], network: str, rival: str) -> Iterator[Claim]:
    every = multitask_arm(arms)
    if every is None or not measured.has(every.name, rival):
        return
    both = measured.on_shared_seeds([(every.name, network), (every.name, rival)])
    for endpoint in measured.endpoints:
        first, second = (both.figure(every.name, of, endpoint) for of in (network, rival))
        words = f"{measured.deciding(endpoint).name} of {endpoint}, {network} less {rival}, codes of {every.name}"
        claim = f"A CNN uses relations among tiles that MIL cannot: {endpoint}."
        yield Claim(claim, words, interval("difference", first - second, len(measured.patients[endpoint]), 0.0))


def _of_outcomes(measured: Measurements, arms: Sequence[Arm], network: str) -> Iterator[Claim]:
    every = multitask_arm(arms)
    for endpoint in measured.endpoints.values():
        if every and endpoint.kind == "survival":
            above = measured.figure(every.name, network, endpoint.name) - measured.chance(endpoint.name)
            words = f"C-index of {endpoint.name} above 0.5, {network}, codes of {every.name}"
            claim = f"Risk is learned from outcomes alone: {endpoint.name}."
            yield Claim(claim, words, interval("difference", above, len(measured.patients[endpoint.name]), 0.0))


def _interval(measured: Measurements, draws: Floats) -> Estimate:
    return interval("difference", draws, measured.n, 0.0)
