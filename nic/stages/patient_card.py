"""The model card of a patient model, which the registry shows: what it answers, how well, and what it is not for.

It is made from what is recorded of the version, and made anew when a figure is measured or a verdict is given.
"""

from collections.abc import Mapping
from string import Template
from urllib.parse import quote

from nic.errors import RegistryError, UnknownModel
from nic.evaluation.figure_words import title_of
from nic.patients.model_spec import PatientModelSpec
from nic.stages.report_words import misuses, question
from nic.stages.study_tables import StudyTable
from nic.tracking.aliases import REASONS, ROLLED_BACK, VERDICT
from nic.tracking.descriptions import describe_model, describe_version
from nic.tracking.evidence import spec_of
from nic.tracking.figure_name import FigureName
from nic.tracking.recorded_estimates import RecordedEstimate, tagged_estimates
from nic.tracking.registry import CHAMPION, RegisteredVersion, alias_version, find_version
from nic.tracking.runs import find_run, input_file, run_page
from nic.tracking.source_digest import PROJECT
from nic.tracking.training_data import sites_of_training

TEMPLATE = PROJECT / "registry" / "patient_card.md"
MAP, REPORT = "maps/best-1.png", "report.html"
"""Artifacts of an evaluation."""
PARTS = {
    "external": "external patients",
    "cross_validated": "training patients, by networks trained without them",
    "train": "training patients, who were learned from",
}
ABOUT = """\
{question}

One version per training; each has a model card. The alias `champion` marks the version that is served. This command
gives it to a version that passes its gate:

    mlflow run . --env-manager local -e promote -P model=models:/{name}/<version>
"""
"""Description of the registered model."""
LATEST = "external"
"""The part whose evaluation a card shows first."""


def describe(version: RegisteredVersion) -> None:
    """Write the card of a version as it stands now, and the description of its registered model.

    A version whose files are gone from the store keeps the card that it has.
    """
    now = find_version(version.uri)
    try:
        spec = spec_of(now)
    except UnknownModel:
        return
    describe_version(now, patient_card(now, spec))
    describe_model(now.name, ABOUT.format(question=question(spec), name=now.name))


def patient_card(version: RegisteredVersion, spec: PatientModelSpec) -> str:
    """The card in Markdown. version: with its tags as they are now."""
    estimates, fault = _estimates(version)
    measured_by = {name.part: estimate.run for name, estimate in estimates.items() if find_run(estimate.run)}
    evaluations = {part: run for part, run in measured_by.items() if run and run != version.run_id}
    return Template(TEMPLATE.read_text()).substitute(
        headline=_headline(estimates, spec),
        question=question(spec),
        standing=standing(version),
        figures=fault or _figures(estimates),
        links=_links(version, evaluations),
        trained_on=_trained_on(version, spec),
        misuses="\n".join(f"- {line}" for line in misuses(spec)),
        map=_map(evaluations),
        uri=version.uri,
    )


def _headline(estimates: Mapping[FigureName, RecordedEstimate], spec: PatientModelSpec) -> str:
    """The endpoint and the first figure, without Markdown: lists of versions show the beginning of a card."""
    for name, estimate in estimates.items():
        measured = f"{title_of(name.figure)} {estimate}, {PARTS.get(name.part, name.part)}"
        return f"{spec.endpoint}, {spec.kind}: {measured}."
    return f"{spec.endpoint}, {spec.kind}: not measured yet."


def _estimates(version: RegisteredVersion) -> tuple[dict[FigureName, RecordedEstimate], str]:
    """Those of LATEST first; or the reason why the tag that holds them cannot be read."""
    try:
        return dict(sorted(tagged_estimates(version).items(), key=lambda item: item[0].part != LATEST)), ""
    except RegistryError as error:
        return {}, str(error)


def standing(version: RegisteredVersion) -> str:
    """Whether the version is served, or why not."""
    champion = alias_version(version.name, CHAMPION)
    if champion and champion.version == version.version:
        return "Champion: this version is served."
    verdict, reasons = version.tags.get(VERDICT), version.tags.get(REASONS, "")
    match verdict:
        case None:
            return "Not judged by its gate yet."
        case "promoted":
            now = f"version {champion.version}" if champion else "none"
            return f"It was champion, or was copied to the name that is served. Champion of {version.name} now: {now}."
        case _ if verdict == ROLLED_BACK:
            return f"Rolled back{reasons and ': '}{reasons}."
    return f"Refused by its gate: {reasons}."


def _figures(estimates: Mapping[FigureName, RecordedEstimate]) -> str:
    rows = [
        (title_of(name.figure), str(estimate).rpartition(", n = ")[0], str(estimate.n), PARTS.get(name.part, name.part))
        for name, estimate in estimates.items()
    ]
    table = StudyTable("", ("figure", "value [95% interval]", "patients", "measured on"), rows)
    return table.markdown() if rows else "None is measured yet."


def _links(version: RegisteredVersion, evaluations: Mapping[str, str]) -> str:
    reports = [f"[report on the {PARTS.get(part, part)}]({run_page(run, REPORT)})" for part, run in evaluations.items()]
    training = [f"[training]({run_page(version.run_id)})"] if find_run(version.run_id) and version.run_id else []
    page = version.tags.get("promotion.page", "").removeprefix("runs:/").partition("/")
    verdict = [f"[verdict of the gate]({run_page(page[0], page[2])})"] if find_run(page[0] or None) else []
    return ", ".join([*reports, *verdict, *training])


def _trained_on(version: RegisteredVersion, spec: PatientModelSpec) -> str:
    table, sites = input_file(version.run_id, "cohort"), sites_of_training(version)
    of_table = f" of `{table}`" if table else ""
    by_site = ", ".join(f"{site or 'site not known'} {count}" for site, count in sites.items())
    codes = f"Codes of `{spec.encoder_version}`, tiles of {spec.tile_um:g} µm; {spec.tiling}."
    return f"{spec.patients} patients{of_table}{by_site and ': '}{by_site}. {spec.folds} folds. {codes}"


def _map(evaluations: Mapping[str, str]) -> str:
    """The map of the patient who was answered best, of the evaluation that is shown first."""
    for part, run in evaluations.items():
        picture = f"![map of a patient](get-artifact?path={quote(MAP, safe='')}&run_uuid={run})"
        return f"{picture}\n\nOne of the {PARTS.get(part, part)}; [more maps]({run_page(run, 'maps')})."
    return "`evaluate` draws maps of the patients that it measures."
