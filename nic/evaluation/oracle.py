"""The oracle of a phantom: the answers of a model that knows the latent values, but not the noise of the labels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def oracle_scores(
    truth: Path, endpoint: str, patients: Sequence[str], classes: Sequence[str] = ()
) -> NDArray[np.float64]:
    """Its scores for the patients, [N]; of several classes the logarithms of its probabilities, [N, C].

    truth: the phantom's table. classes: names of a multiclass endpoint's classes, else empty.
    """
    column = f"oracle_{endpoint.replace('-', '_')}"
    answers = pd.read_csv(truth).set_index("patient").loc[list(patients)]
    if classes:
        return np.asarray(np.log(answers[[f"{column}_{name}" for name in classes]].to_numpy(float)))
    return answers[column].to_numpy(float)
