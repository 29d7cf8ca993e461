"""What lies in each cell of a liver of the phantom, as its layout says."""

import numpy as np
from numpy.typing import NDArray

from nic.phantom.liver import LiverLayout
from nic.phantom.plan import by_cell

GLASS, LOOSE, TUMOUR, NODULE, RING = range(5)
"""Values of a truth map."""


def truth_map(layout: LiverLayout) -> NDArray[np.uint8]:
    """What covers most of each 64 um cell: GLASS, LOOSE, TUMOUR, NODULE or RING, [rows, cols]."""
    objects = [np.logical_or.reduce(masks) for masks in (layout.nests, layout.nodules, layout.rings)]
    loose = layout.section & ~objects[0] & ~objects[1] & ~objects[2]
    shares = np.stack([by_cell(mask) for mask in (~layout.section, loose, *objects)])
    return np.asarray(shares.argmax(axis=0), dtype=np.uint8)
