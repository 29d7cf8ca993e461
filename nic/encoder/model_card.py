"""A certificate as a model card in Markdown, for whoever opens the registry."""

from string import Template

from nic.encoder.certificate import Certificate, Comparison, TaskFigure


def model_card(certificate: Certificate, template: str) -> str:
    """Fill a template with what the certificate says; its placeholders are the names used below.

    Raises KeyError for a placeholder that is not among them.
    """
    spec = certificate.spec
    return Template(template).substitute(
        objective=spec.objective,
        tile_px=spec.tile_px,
        tile_mpp=f"{spec.tile_mpp:g}",
        tile_um=f"{spec.tile_um:g}",
        read_mpp=f"{spec.read_mpp:g}",
        code_size=spec.code_size,
        sha256=spec.sha256,
        trained_with=certificate.trained_with,
        tasks=_tasks(certificate.tasks),
        selection=SELECTION if certificate.comparison else "",
        comparison=comparison_text(certificate.comparison) if certificate.comparison else "",
        checks="\n".join(f"| {check} | {found} |" for check, found in _checks(certificate)),
    )


SELECTION = "What it was trained with was chosen on the same held-out tiles, so the figures lean to the good side."
ENOUGH_GROUPS = 10
FEW = (
    f"Fewer than {ENOUGH_GROUPS} slides or patients are held out of a task: its interval is too narrow to be believed."
)


def _tasks(tasks: tuple[TaskFigure, ...]) -> str:
    if not tasks:
        return "No labels: it has no figures of its own; probe it."
    rows = [
        f"| {t.task} | {', '.join(t.classes)} | {t.value:.3f} [{t.low:.3f}, {t.high:.3f}] | {t.tiles} | {t.groups} |"
        for t in tasks
    ]
    head = ["| task | classes | validation AUC | tiles | slides or patients |", "|---|---|---|---|---|"]
    caution = ["", FEW] if min(t.groups for t in tasks) < ENOUGH_GROUPS else []
    return "\n".join([*head, *rows, *caution])


def comparison_text(found: Comparison) -> str:
    """The outcome in a paragraph, plainly when tuning did not help."""
    if found.tuned == found.start:
        return "Tuning found nothing above the setting it started from, which was used."
    trained = "both trained in full" if found.scale == "full" else "both as short trials"
    verdict = (
        "The tuned setting was used." if found.taken else "Tuning did not help; the setting to start from was used."
    )
    return (
        f"Tuned ({found.tuned}) against untuned ({found.start}), {trained}, on the same held-out tiles: mean AUC "
        f"{found.gain:+.3f} [{found.low:+.3f}, {found.high:+.3f}], paired. {verdict}"
    )


def _checks(certificate: Certificate) -> list[tuple[str, str]]:
    codes, robust, parity = certificate.codes, certificate.robustness, certificate.parity
    computed = f"{parity:.1e} on {certificate.parity_tiles} tiles, half of them noise" if parity is not None else "none"
    return [
        ("largest difference between the graph and torch", computed),
        ("dead dimensions", f"{codes.dead} of {codes.size}, on {codes.tiles} tiles"),
        ("effective rank of the codes", f"{codes.effective_rank:.1f} of {codes.size}"),
        ("cosine under heavy colour change", f"{robust.colour:.3f}"),
        ("cosine under flips and turns", f"{robust.dihedral:.3f}"),
        ("cosine of unrelated tiles, the floor", f"{robust.strangers:.3f}"),
    ]
