"""Warnings before a training, as a statistician would give them: few patients, few events, a site that predicts the
label, events or months that look wrong. Needs no torch.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, kruskal, mannwhitneyu
from scipy.stats.contingency import association, crosstab
from sksurv.compare import compare_survival
from sksurv.util import Surv

from nic.patients.targets import Categories, Classes, Grades, Survival, Targets, Values

FEW_PATIENTS = 100
"""With fewer, a 95% interval of AUC or Spearman is wider than about 0.2, whatever the model."""
EVENTS_A_PARAMETER = 10
"""A rule of thumb for models without a penalty."""
LONG_MONTHS = 480
"""40 years: no cohort of slides is followed for longer. Days written as months exceed it after 16 true months."""
SIGNIFICANT = 0.01
Names = NDArray[np.str_]


def warnings_of(targets: Targets, sites: Sequence[str], parameters: int) -> list[str]:
    """Sentences. targets, sites: of the training patients, "" where a site is not known. parameters: of one network."""
    warnings = [
        _few_patients(targets),
        _few_events(targets, parameters),
        _site_predicts_label(targets, np.array(sites, np.str_)),
        _events_inverted(targets),
        _followed_too_long(targets),
    ]
    return [warning for warning in warnings if warning]


def _few_patients(targets: Targets) -> str:
    few = f"{len(targets)} training patients, fewer than {FEW_PATIENTS}: expect wide intervals"
    return few if len(targets) < FEW_PATIENTS else ""


def _few_events(targets: Targets, parameters: int) -> str:
    """The rarer label counts for a class, events for survival, patients for a value."""
    match targets:
        case Classes(positive, names):
            count, what = int(min(positive.sum(), (~positive).sum())), f"patients of the rarer of {' and '.join(names)}"
        case Categories(index, names) | Grades(index, names):
            count, what = int(np.bincount(index).min()), f"patients of the rarest of {', '.join(names)}"
        case Survival(_, event):
            count, what = int(event.sum()), "events"
        case Values():
            count, what = len(targets), "patients"
    if count >= EVENTS_A_PARAMETER * parameters:
        return ""
    return (
        f"{count} {what} for {parameters} trained weights, {count / parameters:.2g} each where {EVENTS_A_PARAMETER} "
        "are a rule of thumb: trust only figures of held-out patients"
    )


def _site_predicts_label(targets: Targets, sites: Names) -> str:
    known = sites != ""
    targets, sites = targets.take(known), sites[known]
    if len(np.unique(sites)) < 2:
        return ""
    strength, p = _association(targets, sites)
    if not p < SIGNIFICANT:
        return ""
    return f"the site predicts the label: {strength}, p = {p:.1g}; a model may learn the site: split and report by site"


def _association(targets: Targets, sites: Names) -> tuple[str, float]:
    """How strong it is, in words, and its p-value."""
    match targets:
        case Values(value):
            groups = [value[sites == site] for site in np.unique(sites)]
            between = sum(len(group) * (group.mean() - value.mean()) ** 2 for group in groups)
            explained = between / max(len(value) * value.var(), 1e-300)
            return f"it explains {explained:.0%} of the variance", _p_of_kruskal(groups)
        case Classes(label, _) | Categories(label, _) | Grades(label, _):
            table = crosstab(sites, label).count
            if min(table.shape) < 2:
                return "", 1.0
            return f"Cramer's V {association(table):.2f}", float(chi2_contingency(table).pvalue)
        case Survival(months, event):
            shares = ", ".join(f"{site} {event[sites == site].mean():.0%}" for site in np.unique(sites))
            return f"events by site {shares}, log-rank", float(
                compare_survival(Surv.from_arrays(event, months), sites)[1]
            )


def _p_of_kruskal(groups: Sequence[NDArray[np.float64]]) -> float:
    constant = len(np.unique(np.concatenate(groups))) < 2
    return 1.0 if constant else float(kruskal(*groups).pvalue)


def _events_inverted(targets: Targets) -> str:
    """Deaths come before the end of the study, to which the living are followed; in an inverted column, after it."""
    if not isinstance(targets, Survival) or targets.event.all() or not targets.event.any():
        return ""
    dead, alive = targets.time_months[targets.event], targets.time_months[~targets.event]
    if not mannwhitneyu(dead, alive, alternative="greater").pvalue < SIGNIFICANT:
        return ""
    return (
        f"patients with an event were followed longer (median {np.median(dead):.3g} months) than those without "
        f"({np.median(alive):.3g}): is the event column inverted? 1 means that the event was observed"
    )


def _followed_too_long(targets: Targets) -> str:
    if not isinstance(targets, Survival) or targets.time_months.max() <= LONG_MONTHS:
        return ""
    longest, median = targets.time_months.max(), np.median(targets.time_months)
    return (
        f"a patient is followed for {longest:g} months, {longest / 12:.0f} years (median {median:.3g} months): are "
        "these days? Divide them by 30.44"
    )
