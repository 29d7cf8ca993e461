"""What an ablation compares: which networks on the codes of which encoders, and with how many seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

from nic.ablation.ablation_cells import Cell
from nic.ablation.arms import TUNED, Arm
from nic.errors import StudyError
from nic.patients.choices import NetworkName, networks_named

RIVALS_ON = (TUNED, "contrastive", "random")
"""Encoders on whose codes every network is trained."""


@dataclass(frozen=True)
class Scope:
    """network: by which encoders are compared. rivals: further networks, on the codes of RIVALS_ON.

    seeds: of each network. encoder_seeds: of the encoders `seeded` and of the best one of a single task.
    """

    network: NetworkName
    rivals: tuple[NetworkName, ...]
    seeds: int
    encoder_seeds: int
    seeded: tuple[str, ...]

    @classmethod
    def named(
        cls, network: str, rivals: Sequence[str], seeds: int, encoder_seeds: int, seeded: Sequence[str]
    ) -> "Scope":
        """Raises StudyError for an unknown network, and for less than one seed."""
        for name, value in (("seeds", seeds), ("encoder_seeds", encoder_seeds)):
            if value < 1:
                raise StudyError(f"{name}={value}; wanted 1 or more")
        first, *others = networks_named([network, *rivals])
        return cls(first, tuple(others), seeds, encoder_seeds, tuple(seeded))

    def networks_on(self, encoder: str) -> tuple[NetworkName, ...]:
        """Networks on the codes of an encoder, each once."""
        every = (self.network, *self.rivals) if encoder in RIVALS_ON else (self.network,)
        return tuple(dict.fromkeys(every))

    def cells(self, encoder: str, encoder_seed: int, endpoints: Sequence[str]) -> list[Cell]:
        """Of one encoder. Its further seeds are compared by one network alone."""
        networks = (self.network,) if encoder_seed else self.networks_on(encoder)
        return [
            Cell(encoder, encoder_seed, endpoint, network, seed)
            for endpoint in endpoints
            for network in networks
            for seed in range(self.seeds)
        ]

    def trainings(self, arms: Sequence[Arm]) -> list[tuple[str, int]]:
        """Arm and seed of each encoder that is to be trained, as far as it is known before the first is measured."""
        seeded = [arm.name for arm in arms if arm.name in self.seeded and arm.learns]
        # The first of a single task stands for the best of them, which is not known yet.
        seeded += [arm.name for arm in arms if arm.group == "one task"][:1]
        again = [(name, seed) for name in dict.fromkeys(seeded) for seed in range(1, self.encoder_seeds)]
        return [(arm.name, 0) for arm in arms] + again
