"""The log that the monitor reads: what a full disk or a running server leaves at its end."""

import json
from pathlib import Path

import pytest

from nic.stages.monitor import answers_table

ROWS = [{"score": 0.5, "status": "ok"}, {"score": 0.7, "status": "ok"}]


def test_lines_that_were_cut_short_are_skipped_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text(f'{json.dumps(ROWS[0])}\n{{"score": 0.\n{json.dumps(ROWS[1])}\n{{"score": 0.9')
    assert answers_table(file).to_dict("records") == ROWS
    assert "1 lines are cut short" in capsys.readouterr().out
