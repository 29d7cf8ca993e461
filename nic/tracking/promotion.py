"""The guard: whether a candidate, the version that somebody asks to promote, becomes champion, and why not."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nic.errors import Overtaken, RegistryError
from nic.tracking.aliases import REASONS, VERDICT, is_same, make_champion, mark_challenger, served_name
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
from nic.tracking.serving_checks import serving_checks


@dataclass(frozen=True)
class Verdict:
    """The outcome of a promotion.

    estimate: of the deciding figure, computed again; as the tag states it where its record cannot be trusted. served:
    the version that is champion now, a copy of the candidate where environments are separate; None when it was refused.
    """

    candidate: RegisteredVersion
    gate: Gate
    estimate: RecordedEstimate | None
    checks: tuple[Check, ...]
    served: RegisteredVersion | None

    @property
    def promoted(self) -> bool:
        return self.served is not None

    @property
    def about(self) -> tuple[RegisteredVersion, ...]:
        """The candidate and, if it was copied to the served name, its copy."""
        return tuple({v.full_name: v for v in (self.candidate, self.served) if v}.values())

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the candidate was refused; empty when it is champion now."""
        return tuple(str(check) for check in self.checks if not check.passed)


def promote(uri: str, gates: Mapping[str, Gate]) -> Verdict:
    """Make a version champion if it passes its gate; the old champion becomes `previous`.

    A version of <name>.dev is checked by the gate and against the champion of <name>, and copied there.
    Raises UnknownModel when there is no such version, RegistryError when its name has no gate.
    """
    candidate = find_version(uri)
    gate = gate_of(served_name(candidate), gates)
    champion = alias_version(served_name(candidate), CHAMPION)
    standing = champion if is_same(candidate, champion) else None
    if standing is None:
        mark_challenger(candidate)
    evidence = _evidence(candidate, gate)
    checks = tuple(_all_checks(candidate, evidence, gate, None if standing else champion))
    served = standing
    if standing is None and all(check.passed for check in checks):
        try:
            served = make_champion(candidate, instead_of=champion)
        except Overtaken as error:
            checks = (*checks, Check("succession", False, str(error), "the champion it was compared with"))
    estimate = evidence.estimate if isinstance(evidence, Evidence) else estimate_as_tagged(candidate, gate.figure)
    verdict = Verdict(candidate, gate, estimate, checks, served if all(check.passed for check in checks) else None)
    tag_verdict(verdict)
    return verdict


def rival(candidate: RegisteredVersion) -> RegisteredVersion | None:
    """The version that a candidate is compared with: the champion, or `previous` where it is champion itself."""
    champion = alias_version(served_name(candidate), CHAMPION)
    return alias_version(served_name(candidate), PREVIOUS) if is_same(candidate, champion) else champion


def tag_verdict(verdict: Verdict) -> None:
    """Write the verdict as tags on the versions that it is about."""
    tags = {VERDICT: "promoted" if verdict.promoted else "refused", REASONS: "; ".join(verdict.reasons)}
    for version in verdict.about:
        tag_version(version.name, version.version, tags)


def _evidence(candidate: RegisteredVersion, gate: Gate) -> Evidence | RegistryError:
    """The answers behind the deciding figure, or the reason why they cannot be trusted."""
    try:
        return evidence_of(candidate, gate.figure)
    except RegistryError as error:
        return error


def _all_checks(
    candidate: RegisteredVersion, evidence: Evidence | RegistryError, gate: Gate, champion: RegisteredVersion | None
) -> Iterator[Check]:
    """The cheap checks first. The model is loaded only when it passed all of them."""
    passed = []
    for check in _checks_of_records(candidate, evidence, gate, champion):
        passed.append(check.passed)
        yield check
    if gate.serving and all(passed):
        yield from serving_checks(candidate, gate.serving)


def _checks_of_records(
    candidate: RegisteredVersion, evidence: Evidence | RegistryError, gate: Gate, champion: RegisteredVersion | None
) -> Iterator[Check]:
    yield lineage_check(candidate, gate)
    yield parity_check(candidate, gate)
    yield tags_check(candidate)
    if isinstance(evidence, RegistryError):
        yield Check("answers", False, str(evidence), f"{gate.figure} as it was measured last, on this version")
        return
    yield from bound_checks(evidence.estimate, gate)
    yield from other_checks(candidate, gate.others)
    try:
        if answers := evidence.answers:
            yield Check("answers", True, f"{gate.figure}, computed again, is {evidence.estimate}", "the same estimate")
            yield endpoint_check(candidate, answers)
            yield training_check(candidate, answers)
        if answers and gate.subgroups:
            yield from subgroup_checks(answers, gate, gate.subgroups)
    except RegistryError as error:
        yield Check("answers", False, str(error), "a record of answers that can be judged")
    if champion:
        yield rival_check(candidate, evidence, champion, gate)
