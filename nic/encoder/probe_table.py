"""Probes of several encoders as tables: one row a probe for programs, encoders by tasks for people."""

from collections.abc import Sequence

import pandas as pd
from rich.table import Table

from nic.encoder.probe import Probe

TITLE = "AUC of a linear probe on held-out tiles [95% over slides or patients]"


def probe_frame(probes: Sequence[Probe]) -> pd.DataFrame:
    """A row a probe. groups: slides or patients of the held-out tiles. enlarged: times on a side, 1 where not."""
    return pd.DataFrame(
        {
            "encoder": p.encoder,
            "task": p.task,
            "auc": p.auc.value,
            "low": p.auc.low,
            "high": p.auc.high,
            "tiles": p.auc.n,
            "groups": p.auc.groups,
            "strength": p.strength,
            "enlarged": p.factor,
        }
        for p in probes
    )


def probe_table(probes: Sequence[Probe]) -> Table:
    """Encoders down, tasks across; a probe whose tiles were enlarged says so."""
    tasks = {p.task: f"{p.task}\n{p.auc.n} tiles, {p.auc.groups} groups" for p in probes}
    cells = {(p.encoder, p.task): f"{p.auc}{f', enlarged {p.factor}x' if p.factor > 1 else ''}" for p in probes}
    table = Table("encoder", *tasks.values(), title=TITLE)
    for encoder in dict.fromkeys(p.encoder for p in probes):
        table.add_row(encoder, *(cells.get((encoder, task), "") for task in tasks))
    return table
