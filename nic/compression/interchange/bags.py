"""Feature bags: .pt files of one tensor [N, D]. The only importer of torch in this room."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nic.compression.interchange.hdf5 import as_bag, unusable
from nic.errors import InterchangeError
from nic.shared_files import drafted


def read_bag(path: Path) -> NDArray[Any]:
    """Codes float [N, D]. Nothing but tensors is unpickled. Raises InterchangeError, UnreachedCodes."""
    import torch  # here: the other layouts are no files of torch, which takes seconds to import

    try:
        bag = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise unusable(path, error, f"not a tensor that torch reads: {str(error).splitlines()[0]}") from error
    if not isinstance(bag, torch.Tensor) or not bag.is_floating_point():
        content = bag.dtype if isinstance(bag, torch.Tensor) else type(bag).__name__
        raise InterchangeError(f"{path.name}: holds {content}, wanted a tensor of floats [tiles, D]")
    return as_bag(bag.float().numpy(), path, "the tensor")


def write_bag(codes: NDArray[np.float32], path: Path) -> None:
    import torch  # here: as in `read_bag`

    with drafted(path) as draft:
        torch.save(torch.from_numpy(codes), draft)
