"""The sentences of a report: what a model predicts, what its pictures show, what it may be used for, and what not."""

from nic.patients.model_spec import PatientModelSpec
from nic.patients.targets import Categories, Classes, Grades, Survival, Targets, Values
from nic.stages.model_evaluation import Evaluation

SYNTHETIC = (
    "Synthetic study. A program drew the slides and the patients. The figures show that the software finds what was "
    "planted; they say nothing about real patients."
)
PART_NOTICES = {
    "train": [
        "Measured on the patients that the model was trained on. The figures are too good, and say nothing about new "
        "patients."
    ],
    "cross_validated": [
        "Cross-validated. Each patient was answered by the networks that were trained without that patient, and "
        "calibrated on the patients of the other folds. Patients of another hospital were not measured."
    ],
}
"""What a reader must know before the figures, by part of the cohort."""
RESULT_CAPTIONS = {
    "regression": "Each point is a patient. On the grey line, answer and label are equal.",
    "classification": "Each step is a patient. A model that guesses follows the grey line.",
    "multiclass": "Each curve is a class against the rest. A model that guesses follows the grey line.",
    "ordinal": "Each mark is a patient, in the strip of the true grade; the dark line is the strip's median. The "
    "better the model, the less the strips overlap.",
    "survival": "Survival of the patients below and above the training patients' median log hazard. Ticks are patients "
    "who were alive when last seen.",
}
CONFUSION_CAPTION = (
    "Each row is a true class, each column what the model called. A cell has the number of patients and their share of "
    "the row; the diagonal is right."
)
BARS = "Bars are 95% intervals."
CALIBRATION_CAPTIONS = {
    "regression": "Calibration. Points are groups of patients with similar answers. The band is the interval that "
    f"comes with an answer. {BARS}",
    "classification": "Calibration. Points are groups of patients with similar probabilities. Ticks are patients, "
    f"positive ones above. {BARS}",
    "multiclass": "Calibration of each class. Points are groups of patients with similar probabilities of the class. "
    f"Ticks are patients, those of the class above. {BARS}",
    "ordinal": "Calibration of each grade or a higher one. Points are groups of patients with similar probabilities. "
    f"Ticks are patients, those who have the grade or a higher one above. {BARS}",
    "survival": "Calibration. Points are groups of patients with similar predictions. Observed survival is the "
    f"Kaplan-Meier estimate. {BARS}",
}
GOODNESS = {
    "regression": "Patients are ordered by the difference between answer and label.",
    "classification": "Patients are ordered by the probability that the model gave to their true class.",
    "multiclass": "Patients are ordered by the probability that the model gave to their true class.",
    "ordinal": "Patients are ordered by the probability that the model gave to their true grade.",
    "survival": "Patients are ordered by the number of their comparable pairs that the model ranked correctly, minus "
    "those that it ranked wrongly. Two patients are comparable when it is known who died first.",
}


def outcome_counts(targets: Targets) -> str:
    """How many patients have each outcome; empty for values."""
    match targets:
        case Values():
            return ""
        case Classes(positive, (negative_name, positive_name)):
            return f"; {positive.sum()} {positive_name}, {(~positive).sum()} {negative_name}"
        case Categories(index, names):
            return "; " + ", ".join(f"{(index == place).sum()} {name}" for place, name in enumerate(names))
        case Grades(index, names):
            return "; " + ", ".join(f"{(index == place).sum()} of grade {name}" for place, name in enumerate(names))
        case Survival(_, event):
            return f"; {event.sum()} died, {(~event).sum()} were alive when last seen"


def question(spec: PatientModelSpec) -> str:
    """What the model predicts."""
    prediction = {
        "regression": f"a value ({spec.unit or 'in the unit of the label'})",
        "classification": f"the probability of {' rather than '.join(reversed(spec.classes))}",
        "multiclass": f"which of these classes the patient has, with a probability for each: {', '.join(spec.classes)}",
        "ordinal": f"the grade, with a probability for each: {', '.join(spec.classes)}, the lowest first",
        "survival": "a log hazard: the higher it is, the earlier the patient is expected to die",
    }
    return (
        f"From all slides of a patient the model predicts {prediction[spec.kind]}. "
        "A map shows where in the slides the prediction comes from."
    )


def case_words(evaluation: Evaluation, place: int) -> str:
    """Label and answer of a patient."""
    answer = evaluation.answers[place]
    calibrated, score, prediction = answer.calibrated, answer.score, answer.prediction
    match evaluation.labelled.targets:
        case Values(value):
            interval = f" (interval {calibrated['low']:.2f} to {calibrated['high']:.2f})" if "low" in calibrated else ""
            return f"label {value[place]:.2f}, answer {score:.2f}{interval}"
        case Classes(positive, names):
            return f"{names[int(positive[place])]}; answer: {names[1]} with probability {prediction:.2f}"
        case Categories(index, names):
            true = names[index[place]]
            words = f"{true}; answer: {answer.class_name} with probability {prediction:.2f}"
            own = f", {true} with {calibrated[f'probability_{true}']:.2f}"
            return words if answer.class_name == true else words + own
        case Grades(index, names):
            probability = calibrated[f"probability_{answer.class_name}"]
            return (
                f"grade {names[index[place]]}; answer: grade {answer.class_name} with probability {probability:.2f}; "
                f"expected grade {prediction:.2f}, score {score:.2f}"
            )
        case Survival(months, event):
            outcome = "died after" if event[place] else "alive when last seen after"
            percentile = calibrated.get("percentile")
            among = "" if percentile is None else f", higher than {percentile:.0f}% of the training patients"
            return f"{outcome} {months[place]:.1f} months; log hazard {score:.2f}{among}"


def map_scale(evaluation: Evaluation) -> str:
    """What the numbers of the colour bar are, and how the answer comes from their mean."""
    match evaluation.spec.kind:
        case "regression":
            return "The numbers beside the map are in the unit of the answer."
        case "classification":
            return (
                "The numbers beside the map are log odds before calibration: 0 is undecided, and those of a tile may "
                "be far from it. The probability is calculated from the patient's mean alone, the line in the colour "
                f"bar, by the calibration. {_examples(evaluation)}"
            )
        case "multiclass":
            return (
                "The map is of the class that the model called. The numbers beside it are class scores before "
                "calibration: above 0 a tile speaks for the class, below 0 for another one. The probabilities are "
                "calculated from the patient's means of all classes."
            )
        case "ordinal":
            return (
                "The numbers beside the map are log odds of a higher grade, before calibration: the higher, the more "
                "a tile speaks for a high grade. The probabilities of the grades are calculated from the patient's "
                "mean, the line in the colour bar."
            )
        case "survival":
            return "The numbers beside the map are log hazards: the higher, the earlier death is expected."


def _examples(evaluation: Evaluation) -> str:
    """The lowest and the highest score that was measured, and the probability of each."""
    lowest, highest = int(evaluation.scores.argmin()), int(evaluation.scores.argmax())
    low, high = (
        f"{evaluation.scores[at]:.1f} is a probability of {evaluation.predictions[at]:.2g}" for at in (lowest, highest)
    )
    return f"Here a mean of {low}, and one of {high}."


def uses(spec: PatientModelSpec) -> list[str]:
    """What the model may be used for."""
    return [
        f"Research on {spec.endpoint} in patients like the {spec.patients} training patients: the same organ, stain "
        "and way of sampling, scanned at a resolution that the encoder reads.",
        "Ordering or grouping the patients of a study. The interval above states the uncertainty.",
        "Showing where in a slide an answer comes from. The map is the answer itself, not an explanation that was made "
        "afterwards.",
    ]


def misuses(spec: PatientModelSpec) -> list[str]:
    """What the model may not be used for."""
    of_kind = {
        "regression": "A guarantee for a single value. The interval is as wide as the errors in the cross-validation. "
        "Its coverage is measured, not guaranteed; in patients unlike the training patients it may be lower.",
        "classification": "Patients with another mix of classes. The probability is calibrated for the mix of classes "
        "in training; where the class is rarer, it is too high.",
        "multiclass": "Patients with another mix of classes, or with a class that is none of these: the model always "
        "names one of them. The probabilities are calibrated for the mix of classes in training.",
        "ordinal": "Patients with another mix of grades. The probabilities, and with them the grade that is called, "
        "are calibrated for the mix of grades in training.",
        "survival": "Telling how long a patient will live. The log hazard orders patients; it is no life expectancy. "
        "The survival probabilities are those of the time and the treatments of the training cohort.",
    }
    return [
        "Diagnosis, prognosis or choice of treatment for a single patient. No clinical trial has tested the model.",
        "Organs, stains, scanners or groups of patients that are not in the tables above, before it is measured there.",
        of_kind[spec.kind],
        "Proof of a cause. A red tile shows where the answer comes from, not what makes the disease.",
        "Choosing between models on these patients and then reporting these figures. They would be too good.",
    ]
