"""The tables of a study's end are the same in the terminal and on MLflow's pages."""

from io import StringIO

from rich.console import Console

from nic.stages.study_tables import StudyTable

COLUMNS = ("endpoint", "external [95% interval]", "oracle")


def test_a_table_is_markdown_in_which_no_cell_ends_a_column() -> None:
    table = StudyTable("Figures", COLUMNS, [("grade", "0.7 [0.6, 0.8]", "0.9"), ("a|b", "0.5", "")])
    assert table.markdown().splitlines() == [
        "### Figures",
        "| endpoint | external [95% interval] | oracle |",
        "| --- | --- | --- |",
        "| grade | 0.7 [0.6, 0.8] | 0.9 |",
        "| a/b | 0.5 |  |",
    ]


def test_the_column_of_an_oracle_is_left_out_where_there_is_none() -> None:
    table = StudyTable("Figures", COLUMNS, [("grade", "0.7 [0.6, 0.8]", "")])
    text = StringIO()
    Console(file=text, width=100).print(table.for_terminal())
    for shown in (table.markdown(), text.getvalue()):
        assert "0.7 [0.6, 0.8]" in shown
        assert "oracle" not in shown
