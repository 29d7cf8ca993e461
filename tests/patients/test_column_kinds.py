"""What a column may be is proposed by its name and words; what is not sure is a question, never a guess in silence."""

from typing import Any

import pytest

from nic.patients.column_kinds import ColumnKind, column_kind, label_kind, survival_pairs


def kind_of(column: str, *words: str) -> ColumnKind:
    return column_kind(column, {f"P{number}": word for number, word in enumerate(words)})


@pytest.mark.parametrize(
    ("column", "words", "keys"),
    [
        ("Ki67", [str(number / 7) for number in range(20)], {"kind": "regression"}),
        ("Marker", ["pos"] * 9 + ["neg"] * 9, {"kind": "classification", "positive": "pos"}),
        ("HER2", ["0"] * 9 + ["1"] * 9, {"kind": "classification", "positive": "1"}),
        ("Grade", ["1", "2", "3"] * 6, {"kind": "ordinal", "classes": ["1", "2", "3"]}),
        ("Tumour grade", ["G2", "G1", "G10"] * 6, {"kind": "ordinal", "classes": ["G1", "G2", "G10"]}),
        ("Growth", ["high", "Low", "medium"] * 6, {"kind": "ordinal", "classes": ["Low", "medium", "high"]}),
        (
            "Pattern",
            ["solid", "acinar", "lepidic"] * 6,
            {"kind": "multiclass", "classes": ["acinar", "lepidic", "solid"]},
        ),
    ],
)
def test_labels_of_each_kind_are_known(column: str, words: list[str], keys: dict[str, Any]) -> None:
    kind = kind_of(column, *words, "NA")
    assert (kind.role, kind.undecided) == ("endpoint", ())
    assert kind.keys == {**keys, "column": column}


@pytest.mark.parametrize(
    ("column", "words", "role"),
    [
        ("Age", ["60", "61.5"] * 9, "covariate"),
        ("sex", ["m", "f"] * 9, "covariate"),
        ("Stage", ["I", "II", "III"] * 6, "covariate"),
        ("Follow-up months", ["1.5", "20", "31"] * 6, "time"),
        ("Remark", [f"remark {number}" for number in range(20)], "not used"),
        ("Date of surgery", ["2020-01-02", "3.4.2021"] * 9, "not used"),
        ("Scanner", ["A"] * 20, "not used"),
        ("Hospital_code", ["Oak", "Elm"] * 9, "not used"),
        ("Empty", ["", "NA"] * 9, "not used"),
    ],
)
def test_other_columns_are_no_endpoints(column: str, words: list[str], role: str) -> None:
    assert kind_of(column, *words).role == role


@pytest.mark.parametrize(
    ("column", "words", "values"),
    [
        ("Vital", ["Dead", "Alive"], {"Dead": 1, "Alive": 0}),
        ("PFS event", ["yes", "no"], {"yes": 1, "no": 0}),
        ("death", ["0", "1"], None),
        ("Outcome", ["censored", "Progression"], {"Progression": 1, "censored": 0}),
    ],
)
def test_words_of_an_event_are_known(column: str, words: list[str], values: dict[str, int] | None) -> None:
    kind = kind_of(column, *words * 8)
    assert kind.role == "event"
    assert kind.keys.get("values") == values


def test_yes_and_no_of_another_column_are_two_classes() -> None:
    assert kind_of("Necrosis", *["yes", "no"] * 8).keys["positive"] == "yes"


@pytest.mark.parametrize(
    ("column", "words", "there", "write"),
    [
        ("Status", ["Dead"] * 8 + ["Alive"] * 8 + ["Daed"], "'Daed' (patient P16)", "'Dead', if it is misspelt"),
        ("Arm", ["left"] * 9 + ["right"] * 8, "'left' (9) or 'right' (8)", "`positive:`"),
        ("Nodes", ["0", "1", "2"] * 6, "0, 1, 2: grades or numbers", "`kind: regression`, if numbers"),
        ("Ki67", [*map(str, range(20)), "high"], "'high' (patient P20) among numbers", "a number, or nothing"),
        ("Grade", ["a", "b", "c"] * 6, "a, b, c: in an order?", "`kind: ordinal`, with `classes:` lowest first"),
    ],
)
def test_what_is_not_sure_is_asked(column: str, words: list[str], there: str, write: str) -> None:
    (question,) = kind_of(column, *words).undecided
    assert question.where == f"column {column!r}"
    assert (question.there, question.write[: len(write)]) == (there, write)


@pytest.mark.parametrize(
    "words", [["grade 1"] * 9 + ["grade 2"] * 2, ["mutated"] * 9 + ["unmutated"] * 2, ["IDH"] * 9 + ["IDC"]]
)
def test_words_that_differ_on_purpose_are_not_taken_for_slips(words: list[str]) -> None:  # fmt: skip
    assert not any("misspelt" in question.write for question in kind_of("Type", *words).undecided)


def test_a_time_goes_with_the_event_of_its_name() -> None:
    times = [kind_of(f"{name} months", *map(str, range(20))) for name in ("OS", "PFS")]
    events = [kind_of(f"{name} event", *"01" * 8) for name in ("PFS", "OS")]
    pairs, undecided = survival_pairs([*times, *events])
    assert [(pair.keys["time"], pair.keys["event"]) for pair in pairs] == [
        ("PFS months", "PFS event"),
        ("OS months", "OS event"),
    ]
    assert not undecided


def test_a_time_in_days_or_without_its_event_is_asked() -> None:
    days, event = kind_of("Survival days", *map(str, range(20))), kind_of("dead", *"01" * 8)
    (pair,), undecided = survival_pairs([days, event])
    assert pair.keys == {"kind": "survival", "time": "Survival days", "event": "dead", "unit": "log hazard"}
    assert pair.undecided[0].write == "months; days are divided by 30.44"
    assert not undecided
    pairs, (question,) = survival_pairs([days])
    assert not pairs
    assert question.there == "a time without its event"
    assert survival_pairs([event])[1][0].write == "a column of months, for survival"


def test_a_column_that_is_asked_for_is_a_label() -> None:
    assert label_kind("Age", {str(n): str(n) for n in range(20)}).keys["kind"] == "regression"
    assert label_kind("sex", dict(enumerate("mf" * 8))).keys["kind"] == "classification"  # type: ignore[arg-type]
    assert label_kind("Stage", dict(zip("abcdef", ["I", "II", "III"] * 2, strict=True))).keys["kind"] == "ordinal"
    assert label_kind("Scanner", {"a": "x"}).role == "not used"
