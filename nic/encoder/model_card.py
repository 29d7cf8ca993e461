"""A certificate as a model card in Markdown, which the registry shows."""

from string import Template

from nic.encoder.certificate import Certificate, Comparison, TaskFigure


def model_card(certificate: Certificate, template: str) -> str:
    """Fill a template from a certificate; its placeholders are the names used below.

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
        checks="\n".join(f"| {check} | {result} |" for check, result in _checks(certificate)),
    )


INTERVALS = "Intervals are of 95%, by drawing slides or patients with replacement."
ENOUGH_GROUPS = 10
FEW = f"Fewer than {ENOUGH_GROUPS} slides or patients are held out for a task: its interval is too narrow."
SELECTION = "Its hyperparameters were chosen on the same held-out tiles, so the figures are slightly too good."


def _figures(certificate: Certificate) -> list[str]:
    """Paragraphs."""
    tasks, comparison = certificate.tasks, certificate.comparison
    if not tasks:
        return ["It has no heads, and so no figures of its own; `probe_encoder` measures it on any tile task."]
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


def comparison_text(comparison: Comparison) -> str:
    """The outcome of tuning as a paragraph."""
    trained = "both trained in full" if comparison.scale == "full" else "both as short trials"
    gain = f"{comparison.gain:+.3f} [{comparison.low:+.3f}, {comparison.high:+.3f}]"
    verdict = "The tuned ones were used." if comparison.taken else "Tuning did not help; the first ones were used."
    return (
        f"The best tuned hyperparameters ({comparison.tuned}) against the first ones ({comparison.start}), {trained}, "
        f"on the same held-out tiles: mean AUC {gain}, paired. {verdict}"
    )


def _checks(certificate: Certificate) -> list[tuple[str, str]]:
    parity, codes, robust = certificate.parity, certificate.codes, certificate.robustness
    computed = f"{parity:.1e} on {certificate.parity_tiles} tiles, noise among them"
    checks = [("largest difference between the graph and its source", computed)]
    if certificate.heads_parity is not None:
        checks.append(("largest difference between the task heads and heads.onnx", f"{certificate.heads_parity:.1e}"))
    if codes:
        checks += [
            ("dead dimensions", f"{codes.dead} of {codes.size}, on {codes.tiles} tiles"),
            ("effective rank of the codes", f"{codes.effective_rank:.1f} of {codes.size}"),
        ]
    if robust:
        checks += [
            ("cosine under heavy colour change", f"{robust.colour:.3f}"),
            ("cosine under flips and quarter turns", f"{robust.dihedral:.3f}"),
            ("cosine of unrelated tiles, the floor", f"{robust.strangers:.3f}"),
        ]
    return checks if codes else [*checks, ("codes of tiles", "not measured: the study has no tile tasks")]
