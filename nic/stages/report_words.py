"""What a report says in sentences: what a model answers, of a patient, what it is for, and what not."""

from nic.patients.spec import PatientModelSpec
from nic.patients.targets import Classes, Survival, Targets, Values
from nic.stages.model_evaluation import Evaluation

SYNTHETIC = (
    "Synthetic study. The slides and the patients are drawn by a program: the figures say that the software finds what "
    "was planted, and nothing about patients."
)
PART_NOTICES = {
    "train": [
        "Measured on the patients that the model was trained on. The figures are too good, and say nothing of new "
        "patients."
    ],
    "cross_validated": [
        "Cross-validated. Each patient was answered by the networks that were trained without that patient, and "
        "calibrated on the patients of the other folds. Patients of another hospital were not measured."
    ],
}
"""By part of the cohort, what a reader must know before the figures."""
GOODNESS = {
    "regression": "Patients are ordered by the difference between answer and label.",
    "classification": "Patients are ordered by the probability that the model gave to their own class.",
    "survival": "Patients are ordered by how many of their comparable pairs the model ranked correctly, minus those "
    "that it ranked wrongly.",
}


def made_of(targets: Targets) -> str:
    """How many patients there are of each kind."""
    match targets:
        case Values():
            return ""
        case Classes(positive, (negative_name, positive_name)):
            return f"; {positive.sum()} {positive_name}, {(~positive).sum()} {negative_name}"
        case Survival(_, event):
            return f"; {event.sum()} died, {(~event).sum()} were alive when last seen"


def question(spec: PatientModelSpec) -> str:
    """What the model answers."""
    what = {
        "regression": f"a value ({spec.unit or 'in the unit of the label'})",
        "classification": f"the probability of {' rather than '.join(reversed(spec.classes))}",
        "survival": "a log hazard: higher means an earlier death",
    }
    return f"From all slides of a patient the model answers with {what[spec.kind]}, and a map of where it comes from."


def case_words(done: Evaluation, place: int) -> str:
    """Label and answer of a patient."""
    said = {name: float(values[place]) for name, values in done.promised.items()}
    score, prediction = float(done.scores[place]), float(done.predictions[place])
    match done.labelled.targets:
        case Values(value):
            stated = f" (stated: {said['low']:.2f} to {said['high']:.2f})" if "low" in said else ""
            return f"label {value[place]:.2f}, answer {score:.2f}{stated}"
        case Classes(positive, names):
            return f"{names[int(positive[place])]}; answer: {names[1]} with probability {prediction:.2f}"
        case Survival(months, event):
            seen = "died after" if event[place] else "alive, last seen after"
            among = f", higher than {said['percentile']:.0f}% of training patients" if "percentile" in said else ""
            return f"{seen} {months[place]:.1f} months; log hazard {score:.2f}{among}"


def uses(done: Evaluation) -> list[str]:
    """What the figures above can support."""
    spec = done.spec
    return [
        f"Research on {spec.endpoint} in patients like the {spec.patients} it was trained on: the same organ, stain "
        "and way of sampling, scanned at a resolution that its encoder reads.",
        "Ordering or grouping patients of a study, with the interval above as its stated uncertainty.",
        "Asking where in a slide an answer comes from: the map is the answer, not an explanation made afterwards.",
    ]


def misuses(spec: PatientModelSpec) -> list[str]:
    """What they cannot."""
    promise = {
        "regression": "The stated interval is as wide as the errors of a cross-validation. Its coverage is measured, "
        "not guaranteed, and only for patients like those of the training; elsewhere it may hold fewer labels.",
        "classification": "The probability is calibrated for the training's mix of classes; where the class is rarer, "
        "it is too high.",
        "survival": "The log hazard orders patients; it is no life expectancy. Survival probabilities are those of the "
        "training cohort's time and treatment.",
    }
    return [
        "Diagnosis, prognosis or the choice of treatment of a single patient. It has been in no clinical trial.",
        "Organs, stains, scanners or groups of patients that are not in the tables above, before it is measured there.",
        promise[spec.kind],
        "Proof of a cause: a red tile is where the answer comes from, not what makes the disease.",
        "Choosing among models by these patients and then reporting these figures: they would be too good.",
    ]
