"""Which slides of a folder belong to which patient: by a column of file names, or by the identifier in the name."""

import difflib
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from nic.patients.column_kinds import Undecided
from nic.slides.source import SlideSource, slide_id
from nic.tables.cells import is_missing

WORD = re.compile(r"[^\W_]+")
"""Of a file's name: letters and digits."""
NAMED = 12
ALIKE = 0.7
"""Least likeness of two names of which one may be a typing error, 0 to 1."""


@dataclass(frozen=True)
class Matching:
    """patients: the patient of each slide, by its id. how: in words. undecided: files and patients without a match.

    rows: where a column names slides, the number of each slide's row.
    """

    patients: Mapping[str, str]
    how: str
    undecided: tuple[Undecided, ...]
    rows: Mapping[str, int] = field(default_factory=dict)


def slide_column(cells: Mapping[str, Sequence[str]], slides: Collection[SlideSource]) -> str | None:
    """The column that names the most slides, at least half of its known cells; None where no column does."""
    ids = {_plain(source.slide_id) for source in slides}
    shares = {
        column: (sum(_plain(slide_id(text)) in ids for text in known), len(known))
        for column, texts in cells.items()
        if (known := [text for text in texts if not is_missing(text)])
    }
    fitting = [column for column, (hits, known) in shares.items() if hits and 2 * hits >= known]
    return max(fitting, key=lambda column: shares[column][0], default=None)


def matched_by_column(
    column: str, rows: Sequence[tuple[int, str, str]], slides: Sequence[SlideSource], names: Mapping[str, str]
) -> Matching:
    """rows: (number, patient, cell of the column). names: of each slide's file, by its id, as a person knows it.

    A cell means the slide of its id, whatever its folder is called.
    """
    ids = {_plain(source.slide_id): source.slide_id for source in slides}
    patients: dict[str, str] = {}
    numbers: dict[str, int] = {}
    undecided = []
    for number, patient, text in rows:
        if is_missing(text) or is_missing(patient):
            remedy = "a patient and a file, or remove the row"
            undecided.append(Undecided(f"column {column!r}, row {number}", f"{patient!r}, {text!r}", remedy))
            continue
        known_id = ids.get(_plain(slide_id(text)))
        if known_id is None:
            alike = _alike(slide_id(text), [other for other in ids.values() if other not in patients])
            undecided.append(Undecided(f"patient {patient}, column {column!r}", f"no slide {text!r}", alike))
        elif known_id in patients:
            several = f"slide {text!r}, which an earlier row names for patient {patients[known_id]}"
            undecided.append(Undecided(f"patient {patient}, column {column!r}", several, "each slide once"))
        else:
            patients[known_id], numbers[known_id] = patient, number
    if beyond := undecided[NAMED:]:
        undecided = [*undecided[:NAMED], Undecided(f"{len(beyond)} more rows", "no slide of their own", "see above")]
    left = [source.slide_id for source in slides if source.slide_id not in patients]
    undecided += _left_out([names[name] for name in left], f"not in column {column!r}, so left out")
    return Matching(patients, f"by column {column!r}", tuple(undecided), numbers)


def matched_by_name(patient_ids: Sequence[str], slides: Sequence[SlideSource], names: Mapping[str, str]) -> Matching:
    """Slides by the identifier that their file's name holds as whole words, else the name of a folder above it.

    The longest identifier wins; two that stand apart leave the slide undecided. names: of each slide's file below the
    folder that was searched, by its id.
    """
    known = {_plain(patient_id): patient_id for patient_id in patient_ids}
    longest = max((len(WORD.findall(plain)) for plain in known), default=0)
    patients: dict[str, str] = {}
    undecided, nobody, unclear = list[Undecided](), list[str](), set[str]()
    for source in slides:
        parts = names[source.slide_id].split("/")
        hits = next((hits for part in reversed(parts) if (hits := _identifiers(_plain(part), known, longest))), [])
        if len(hits) > 1:
            remedy = "one patient in the name, or a column of file names in the table"
            undecided.append(Undecided(names[source.slide_id], f"patients {' and '.join(hits)} in its name", remedy))
            unclear.update(hits)
        elif hits:
            patients[source.slide_id] = hits[0]
        else:
            nobody.append(names[source.slide_id])
    without = [patient_id for patient_id in patient_ids if patient_id not in {*patients.values(), *unclear}]
    undecided += [
        Undecided(f"patient {patient_id}", "no slide has this in its name", _alike_file(patient_id, nobody))
        for patient_id in without[:NAMED]
    ]
    if len(without) > NAMED:
        undecided.append(Undecided(f"{len(without) - NAMED} more patients", "no slide", "see above"))
    undecided += _left_out(nobody, "no patient of the table in its name, so left out")
    return Matching(patients, "by the patient in the file's name", tuple(undecided))


def _identifiers(text: str, known: Mapping[str, str], longest: int) -> list[str]:
    """The identifiers that a text holds as whole words, those within a longer one left out."""
    spans = [match.span() for match in WORD.finditer(text)]
    places = [
        (start, end)
        for first, (start, _) in enumerate(spans)
        for _, end in spans[first : first + longest]
        if text[start:end] in known
    ]
    outer = [
        (start, end)
        for start, end in places
        if not any(a <= start and end <= b and (a, b) != (start, end) for a, b in places)
    ]
    return list(dict.fromkeys(known[text[start:end]] for start, end in outer))


def _left_out(files: Sequence[str], why: str) -> list[Undecided]:
    more = [Undecided(f"{len(files) - NAMED} more files", why, "a row of the table")] if len(files) > NAMED else []
    return [*(Undecided(file, why, "a row of the table, if it is of the study") for file in files[:NAMED]), *more]


def _alike(name: str, others: Sequence[str]) -> str:
    alike = difflib.get_close_matches(name, others, n=1, cutoff=ALIKE)
    return f"perhaps {alike[0]!r}" if alike else "its name as the file has it, or remove the patient"


def _alike_file(patient_id: str, files: Sequence[str]) -> str:
    words = {_plain(word): file for file in files for word in WORD.findall(file.rpartition("/")[2])}
    alike = difflib.get_close_matches(_plain(patient_id), words, n=1, cutoff=ALIKE)
    return f"perhaps {words[alike[0]]!r}" if alike else "its name as the file has it, or remove the patient"


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().strip()
