"""What the columns of a clinical table may be: endpoints of each kind, covariates, or neither."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

from nic.tables.cells import LEAST_NUMBERS, NUMBER, is_missing

POSITIVE = {
    *("yes", "y", "ja", "oui", "true", "1", "+", "pos", "positive", "present", "high", "mutated", "mutant", "mut"),
    *("msi", "msi-h", "amplified", "malignant", "tumour", "tumor", "responder", "response", "metastasis"),
    *("dead", "deceased", "died", "death", "event", "progressed", "progression", "relapse", "relapsed", "recurrence"),
}
"""Words of a class that counts as 1."""
SEEN = {"dead", "deceased", "died", "death", "event", "progressed", "progression", "relapse", "relapsed", "recurrence"}
NOT_SEEN = {"alive", "living", "censored", "lost", "stable", "none", "ned"}
"""Words of an event that was seen, and of one that was not."""
YES, NO = {"1", "1.0", "yes", "true", "ja", "y"}, {"0", "0.0", "no", "false", "nein", "n"}
ORDERS = (
    ("i", "ii", "iii", "iv", "v"),
    ("very low", "low", "medium", "intermediate", "moderate", "high", "very high"),
    ("none", "mild", "moderate", "severe"),
    ("well", "moderate", "moderately", "poor", "poorly", "undifferentiated"),
    ("absent", "non-brisk", "brisk"),
    ("negative", "weak", "moderate", "strong"),
)
"""Words of grades, the lowest first."""
EVENT = re.compile(r"status|event|dead|death|vital|censor|progress|recur|relapse", re.IGNORECASE)
TIME = re.compile(r"month|time|follow|surviv|days|weeks|years", re.IGNORECASE)
OTHER_UNIT = re.compile(r"day|week|year", re.IGNORECASE)
GRADE = re.compile(r"grad|stage|score|class|level|differentiation", re.IGNORECASE)
COVARIATE = re.compile(r"\b(age|sex|gender|stage|bmi|ecog|smok\w*|treatment|therapy)\b", re.IGNORECASE)
SITE = re.compile(r"\b(site|hospital|cent(er|re)|clinic|institution)\b", re.IGNORECASE)
DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[./]\d{1,2}[./]\d{2,4}")
NUMBERED = re.compile(r"(\D*?)(\d+)(\D*)")
MOST_GRADES, MOST_CLASSES, PATIENTS_A_CLASS = 6, 8, 3
"""More different whole numbers are a measurement; more words, or with fewer patients each, are free text."""
COMMON, MORE_COMMON = 3, 3
"""A misspelt word is rare: the right one has this many patients, and this many times as many."""

Role = Literal["endpoint", "time", "event", "covariate", "not used"]


@dataclass(frozen=True)
class Undecided:
    """What only a person can decide. where: a column, a file, a patient. there: what is there. write: what to do."""

    where: str
    there: str
    write: str


@dataclass(frozen=True)
class ColumnKind:
    """What a column may be. keys: of an endpoint of it, as the study file has them. why: a reason, in words."""

    column: str
    role: Role
    why: str
    keys: Mapping[str, Any] = field(default_factory=dict)
    undecided: tuple[Undecided, ...] = ()


def column_kind(column: str, cells: Mapping[str, str]) -> ColumnKind:
    """What a column may be, by its words and its name. cells: text by patient."""
    known = {patient: text for patient, text in cells.items() if not is_missing(text)}
    slips = _slips(known)
    words = Counter(slips.get(text, text) for text in known.values())
    of_slips = tuple(
        Undecided(f"column {column!r}", f"{wrong!r} ({_patients(known, wrong)})", f"{right!r}, if it is misspelt")
        for wrong, right in slips.items()
    )
    kind = _kind(column, words, known)
    return replace(kind, undecided=(*of_slips, *kind.undecided))


def _kind(column: str, words: Counter[str], known: Mapping[str, str]) -> ColumnKind:
    if len(words) < 2:
        return ColumnKind(column, "not used", f"only {next(iter(words))!r}" if words else "empty")
    if SITE.search(_spaced(column)):
        return ColumnKind(column, "not used", "a site")
    if all(DATE.fullmatch(word) for word in words):
        return ColumnKind(column, "not used", "dates")
    numbers = sum(count for word, count in words.items() if NUMBER.fullmatch(word))
    if (values := _event_values(column, words)) is not None:
        return ColumnKind(column, "event", "an event", {"values": values} if values else {})
    if LEAST_NUMBERS * words.total() <= numbers:
        return _of_numbers(column, words, known)
    if len(words) == 2:
        return _two_classes(column, words)
    if len(words) > MOST_CLASSES or words.total() < PATIENTS_A_CLASS * len(words):
        return ColumnKind(column, "not used", f"{len(words)} different words for {words.total()} patients")
    return _several_classes(column, list(words))


def _of_numbers(column: str, words: Counter[str], known: Mapping[str, str]) -> ColumnKind:
    odd = [word for word in words if not NUMBER.fullmatch(word)]
    undecided = tuple(
        Undecided(f"column {column!r}", f"{word!r} ({_patients(known, word)}) among numbers", "a number, or nothing")
        for word in odd
    )
    numbers = sorted({word for word in words if word not in odd}, key=float)
    whole = all(float(word).is_integer() for word in numbers)
    if TIME.search(column) and all(float(word) >= 0 for word in numbers):
        return ColumnKind(column, "time", "a time", {}, undecided)
    if COVARIATE.search(_spaced(column)):
        return ColumnKind(column, "covariate", "a number", {}, undecided)
    if len(numbers) == 2 and whole and not odd:
        return _two_classes(column, words)
    if whole and len(numbers) <= MOST_GRADES:
        question = Undecided(
            f"column {column!r}", f"{', '.join(numbers)}: grades or numbers", "`kind: regression`, if numbers"
        )
        sure = bool(GRADE.search(column))
        return ColumnKind(
            column, "endpoint", "grades", _grades(column, numbers), undecided if sure else (*undecided, question)
        )
    return ColumnKind(column, "endpoint", "a number", {"kind": "regression", "column": column}, undecided)


def _two_classes(column: str, words: Counter[str]) -> ColumnKind:
    if COVARIATE.search(_spaced(column)):
        return ColumnKind(column, "covariate", "two words")
    known = [word for word in words if word.casefold() in POSITIVE]
    positive = known[0] if len(known) == 1 else min(words, key=lambda word: (words[word], word))
    shown = " or ".join(f"{word!r} ({count})" for word, count in words.most_common())
    question = Undecided(
        f"column {column!r}", shown, f"`positive:`, the class that counts as 1; {positive!r} is written"
    )
    keys = {"kind": "classification", "column": column, "positive": positive}
    return ColumnKind(column, "endpoint", "two classes", keys, () if len(known) == 1 else (question,))


def _several_classes(column: str, words: Sequence[str]) -> ColumnKind:
    if COVARIATE.search(_spaced(column)):
        return ColumnKind(column, "covariate", "words")
    if ordered := _ordered(words):
        return ColumnKind(column, "endpoint", "grades", _grades(column, ordered))
    keys = {"kind": "multiclass", "column": column, "classes": sorted(words)}
    if not GRADE.search(column):
        return ColumnKind(column, "endpoint", "several classes", keys)
    question = Undecided(
        f"column {column!r}",
        f"{', '.join(sorted(words))}: in an order?",
        "`kind: ordinal`, with `classes:` lowest first",
    )
    return ColumnKind(column, "endpoint", "several classes", keys, (question,))


def _grades(column: str, names: Sequence[str]) -> dict[str, Any]:
    return {"kind": "ordinal", "column": column, "classes": list(names)}


def _ordered(words: Sequence[str]) -> list[str]:
    """The words as grades, lowest first; empty where they are none that we know."""
    small = {word.casefold(): word for word in words}
    for order in ORDERS:
        if set(small) <= set(order):
            return [small[word] for word in order if word in small]
    parts = [NUMBERED.fullmatch(word) for word in words]
    if all(parts) and len({(part[1], part[3]) for part in parts if part}) == 1:
        return sorted(words, key=lambda word: int(re.sub(r"\D", "", word)))
    return []


def _event_values(column: str, words: Counter[str]) -> dict[str, int] | None:
    """What the words of an event mean, empty for 0 and 1; None for a column that is no event."""
    small = {word.casefold(): word for word in words}
    if len(small) != 2:
        return None
    for seen, not_seen, is_named in ((SEEN, NOT_SEEN, True), (YES | SEEN, NO | NOT_SEEN, bool(EVENT.search(column)))):
        if is_named and set(small) & seen and set(small) & not_seen and set(small) <= seen | not_seen:
            plain = set(small) <= {"0", "1", "0.0", "1.0", "true", "false"}
            return (
                {} if plain else {small[word]: int(word in seen) for word in sorted(small, key=lambda w: w not in seen)}
            )
    return None


def label_kind(column: str, cells: Mapping[str, str]) -> ColumnKind:
    """What kind of label a column is that is to be predicted, also one that would be a covariate or too varied."""
    kind = column_kind(column, cells)
    if kind.role in ("endpoint", "time", "event"):
        return kind
    words = sorted({text for text in cells.values() if not is_missing(text)})
    if len(words) < 2:
        return kind
    if all(map(NUMBER.fullmatch, words)):
        return replace(kind, role="endpoint", keys={"kind": "regression", "column": column})
    if len(words) == 2:
        return replace(kind, role="endpoint", keys={"kind": "classification", "column": column, "positive": words[1]})
    ordered = _ordered(words)
    keys = _grades(column, ordered) if ordered else {"kind": "multiclass", "column": column, "classes": words}
    return replace(kind, role="endpoint", keys=keys)


def survival_pairs(kinds: Sequence[ColumnKind]) -> tuple[list[ColumnKind], list[Undecided]]:
    """The endpoints of a time and an event; with several of them, those whose names share a first word."""
    times = [kind for kind in kinds if kind.role == "time"]
    pairs: list[ColumnKind] = []
    undecided: list[Undecided] = []
    for event in (kind for kind in kinds if kind.role == "event"):
        fitting = [time for time in times if _first_word(time.column) == _first_word(event.column)] or times
        if len(fitting) != 1:
            remedy = f"its time: endpoints=TIME+{event.column}" if times else "a column of months, for survival"
            undecided.append(Undecided(f"column {event.column!r}", "an event", remedy))
            continue
        pairs.append(_survival(fitting[0], event))
    paired = {kind.keys["time"] for kind in pairs}
    undecided += [
        Undecided(f"column {time.column!r}", "a time without its event", f"endpoints={time.column}+EVENT, if it is one")
        for time in times
        if time.column not in paired
    ]
    return pairs, undecided


def _survival(time: ColumnKind, event: ColumnKind) -> ColumnKind:
    keys = {"kind": "survival", "time": time.column, "event": event.column, **event.keys, "unit": "log hazard"}
    question = Undecided(
        f"column {time.column!r}", "a time, perhaps not in months", "months; days are divided by 30.44"
    )
    doubts = (question,) if OTHER_UNIT.search(time.column) else ()
    return ColumnKind(
        f"{time.column}+{event.column}",
        "endpoint",
        "time and event",
        keys,
        (*time.undecided, *event.undecided, *doubts),
    )


def _first_word(column: str) -> str:
    return _spaced(column).split()[0].casefold() if _spaced(column).split() else ""


def _spaced(column: str) -> str:
    return re.sub(r"[\W_]+", " ", column)


def _patients(known: Mapping[str, str], text: str) -> str:
    return ", ".join(f"patient {patient}" for patient, other in known.items() if other == text)


def _slips(known: Mapping[str, str]) -> dict[str, str]:
    """Rare words that are one typing error away from a common one, or differ from it in capitals, and that one."""
    counts = Counter(known.values())
    common = [word for word, count in counts.items() if count >= COMMON and not NUMBER.fullmatch(word)]
    return {
        rare: word
        for rare, count in counts.items()
        for word in common
        if rare != word and MORE_COMMON * count <= counts[word] and _one_slip_apart(rare.casefold(), word.casefold())
    }


def _one_slip_apart(one: str, other: str) -> bool:
    """Whether letters of two words differ by one that is missing, wrong, or swapped with the next; numbers never do."""
    if one == other:
        return True
    longer, shorter = sorted((one, other), key=len, reverse=True)
    if len(shorter) < 4 or re.findall(r"\d+", one) != re.findall(r"\d+", other):
        return False
    if len(longer) > len(shorter):
        return any(longer[:i] + longer[i + 1 :] == shorter for i in range(len(longer)))
    wrong = [i for i, (a, b) in enumerate(zip(longer, shorter, strict=True)) if a != b]
    swapped = any(longer[i] == shorter[j] and longer[j] == shorter[i] for i, j in pairwise(wrong) if j == i + 1)
    return len(wrong) == 1 or (len(wrong) == 2 and swapped)
