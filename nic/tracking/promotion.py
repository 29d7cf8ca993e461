"""The guard: which version of a registered model may be served, and why another may not."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nic.errors import Overtaken, RegistryError
from nic.tracking.checks import (
    Check,
    bound_checks,
    endpoint_check,
    lineage_check,
    other_checks,
    parity_check,
    rival_check,
    subgroup_checks,
    tags_check,
    training_check,
)
from nic.tracking.evidence import Evidence, estimate_as_tagged, evidence_of
from nic.tracking.gates import Gate, gate_of
from nic.tracking.recorded_estimates import RecordedEstimate
from nic.tracking.registry import (
    CHAMPION,
    PREVIOUS,
    RegisteredVersion,
    alias_version,
    find_version,
    tag_version,
)
from nic.tracking.smoke import serving_checks
from nic.tracking.succession import challenge, crown, is_same, served_name


@dataclass(frozen=True)
class Verdict:
    """What came of a promotion.

    estimate: of the deciding figure, computed again; as it was tagged where it could not be believed. served: the
    version that is champion now, a copy where environments are separate.
    """

    version: RegisteredVersion
    gate: Gate
    estimate: RecordedEstimate | None
    checks: tuple[Check, ...]
    served: RegisteredVersion | None

    @property
    def promoted(self) -> bool:
        return self.served is not None

    @property
    def about(self) -> tuple[RegisteredVersion, ...]:
        """The version that was judged and, where it is another one, the copy of it that is served."""
        return tuple({v.full_name: v for v in (self.version, self.served) if v}.values())

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it was refused; empty when it is champion now."""
        return tuple(str(check) for check in self.checks if not check.passed)


def promote(uri: str, gates: Mapping[str, Gate]) -> Verdict:
    """Make a version champion if its gate lets it pass; the old champion becomes `previous`.

    A version of <name>.dev is judged by the gate and against the champion of <name>, and copied there.
    Raises UnknownModel when there is no such version, RegistryError when its name has no gate.
    """
    version = find_version(uri)
    gate = gate_of(served_name(version), gates)
    champion = alias_version(served_name(version), CHAMPION)
    standing = champion if is_same(version, champion) else None
    if standing is None:
        challenge(version)
    evidence = _evidence(version, gate)
    checks = tuple(judged(version, evidence, gate, None if standing else champion))
    served = standing
    if standing is None and all(check.passed for check in checks):
        try:
            served = crown(version, instead_of=champion)
        except Overtaken as error:
            checks = (*checks, Check("succession", False, str(error), "the champion it was compared with"))
    estimate = evidence.estimate if isinstance(evidence, Evidence) else estimate_as_tagged(version, gate.figure)
    verdict = Verdict(version, gate, estimate, checks, served if all(check.passed for check in checks) else None)
    tag_verdict(verdict)
    return verdict


def judged(
    version: RegisteredVersion, evidence: Evidence | RegistryError, gate: Gate, champion: RegisteredVersion | None
) -> Iterator[Check]:
    """The answers to all questions, the cheap ones first; the model is only loaded when it passed the others.

    evidence: for the deciding figure, or why it cannot be believed.
    """
    passed = []
    for check in _asked(version, evidence, gate, champion):
        passed.append(check.passed)
        yield check
    if gate.serving and all(passed):
        yield from serving_checks(version, gate.serving)


def _evidence(version: RegisteredVersion, gate: Gate) -> Evidence | RegistryError:
    try:
        return evidence_of(version, gate.figure)
    except RegistryError as error:
        return error


def _asked(
    version: RegisteredVersion, evidence: Evidence | RegistryError, gate: Gate, champion: RegisteredVersion | None
) -> Iterator[Check]:
    yield lineage_check(version, gate)
    yield parity_check(version, gate)
    yield tags_check(version)
    if isinstance(evidence, RegistryError):
        yield Check("answers", False, str(evidence), f"{gate.figure} as it was measured last, on this version")
        return
    yield from bound_checks(evidence.estimate, gate)
    yield from other_checks(version, gate.others)
    try:
        if answers := evidence.answers:
            yield Check("answers", True, f"{gate.figure}, computed again, is {evidence.estimate}", "the same estimate")
            yield endpoint_check(version, answers)
            yield training_check(version, answers)
        if answers and gate.subgroups:
            yield from subgroup_checks(answers, gate, gate.subgroups)
    except RegistryError as error:
        yield Check("answers", False, str(error), "a record of answers that can be judged")
    if champion:
        yield rival_check(version, evidence, champion, gate)


def rival(version: RegisteredVersion) -> RegisteredVersion | None:
    """The champion that a version must not fall behind, or, where it is champion itself, the one it took over from."""
    champion = alias_version(served_name(version), CHAMPION)
    return alias_version(served_name(version), PREVIOUS) if is_same(version, champion) else champion


def tag_verdict(verdict: Verdict) -> None:
    """The verdict on the versions that it is about."""
    tags = {
        "promotion.verdict": "promoted" if verdict.promoted else "refused",
        "promotion.reasons": "; ".join(verdict.reasons),
    }
    for version in verdict.about:
        tag_version(version.name, version.version, tags)
