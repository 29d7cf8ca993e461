"""A small slide as Leica writes it, with an odd um/px and bounds that do not begin at (0, 0)."""

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

ODD_MPP = 0.2737
OFFSET_PX = (301, 517)
"""Where the scanned part begins on the slide."""
SCN = """<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">
<collection sizeX="{whole}" sizeY="{whole}"><image name="scan">
<creationDate>2020-01-01T00:00:00Z</creationDate><device model="Leica SCN400" version="1"/>
<pixels sizeX="{width}" sizeY="{height}"><dimension sizeX="{width}" sizeY="{height}" r="0" ifd="0"/></pixels>
<view sizeX="{width_nm}" sizeY="{height_nm}" offsetX="{x_nm}" offsetY="{y_nm}"/>
<scanSettings><objectiveSettings><objective>20</objective></objectiveSettings><illuminationSettings>
<numericalAperture>0.4</numericalAperture><illuminationSource>brightfield</illuminationSource></illuminationSettings>
</scanSettings></image></collection></scn>"""


def write_scn(path: Path, image: NDArray[np.uint8]) -> Path:
    """The slide is three times as wide as the image. One level."""
    height, width = image.shape[:2]
    nm = ODD_MPP * 1000
    description = SCN.format(
        whole=round(3 * width * nm),
        width=width,
        height=height,
        width_nm=round(width * nm),
        height_nm=round(height * nm),
        x_nm=round(OFFSET_PX[0] * nm),
        y_nm=round(OFFSET_PX[1] * nm),
    )
    tifffile.imwrite(
        path,
        image,
        bigtiff=True,
        tile=(256, 256),
        photometric="rgb",
        compression="jpeg",
        compressionargs={"level": 95},
        description=description,
        metadata=None,
        resolution=(1e4 / ODD_MPP, 1e4 / ODD_MPP),
        resolutionunit="CENTIMETER",
    )
    return path
