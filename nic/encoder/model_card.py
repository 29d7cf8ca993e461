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
        figures="\n\n".join(_figures(certificate)),
        checks="\n".join(f"| {check} | {found} |" for check, found in _checks(certificate)),
    )


INTERVALS = "Intervals are of 95%, by drawing slides or patients with replacement."
ENOUGH_GROUPS = 10
FEW = (
    f"Fewer than {ENOUGH_GROUPS} slides or patients are held out of a task: its interval is too narrow to be believed."
)
SELECTION = "What it was trained with was chosen on the same held-out tiles, so the figures lean to the good side."


def _figures(certificate: Certificate) -> list[str]:
    """Paragraphs."""
    tasks, comparison = certificate.tasks, certificate.comparison
    if not tasks:
        return ["It has no heads, and so no figures of its own: `probe_encoder` measures it on any tile task."]
    paragraphs = [_table(tasks), INTERVALS]
    if min(task.groups for task in tasks) < ENOUGH_GROUPS:
        paragraphs.append(FEW)
    return [*paragraphs, SELECTION, comparison_text(comparison)] if comparison else paragraphs


def _table(tasks: tuple[TaskFigure, ...]) -> str:
    rows = [
        f"| {t.task} | {', '.join(t.classes)} | {t.value:.3f} [{t.low:.3f}, {t.high:.3f}] | {t.tiles} | {t.groups} |"
        for t in tasks
    ]
    head = ["| task | classes | validation AUC | tiles | slides or patients |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows])


def comparison_text(found: Comparison) -> str:
    """The outcome in a paragraph, plainly when tuning did not help."""
    trained = "both trained in full" if found.scale == "full" else "both as short trials"
    verdict = (
        "The tuned setting was used." if found.taken else "Tuning did not help; the setting to start from was used."
    )
    return (
        f"The best setting that was tried ({found.tuned}) against none tuned ({found.start}), {trained}, on the same "
        f"held-out tiles: mean AUC {found.gain:+.3f} [{found.low:+.3f}, {found.high:+.3f}], paired. {verdict}"
    )


def _checks(certificate: Certificate) -> list[tuple[str, str]]:
    parity, codes, robust = certificate.parity, certificate.codes, certificate.robustness
    computed = f"{parity:.1e} on {certificate.parity_tiles} tiles, noise among them"
    checks = [("largest difference between the graph and what it was made from", computed)]
    if codes:
        checks += [
            ("dead dimensions", f"{codes.dead} of {codes.size}, on {codes.tiles} tiles"),
            ("effective rank of the codes", f"{codes.effective_rank:.1f} of {codes.size}"),
        ]
    if robust:
        checks += [
            ("cosine under heavy colour change", f"{robust.colour:.3f}"),
            ("cosine under flips and turns", f"{robust.dihedral:.3f}"),
            ("cosine of unrelated tiles, the floor", f"{robust.strangers:.3f}"),
        ]
    return checks if codes else [*checks, ("codes of tiles", "not measured: no tile tasks were given")]
