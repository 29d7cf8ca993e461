"""Images as small as these gain nothing from a second thread, and lose much where the cores are busy."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
