"""A slide's um/px: given or stated by the file, and plausible."""

from collections.abc import Mapping

from nic.errors import ImplausibleResolution, MissingResolution

PLAUSIBLE_MPP = (0.08, 40.0)
"""The finest objectives give 0.1; a 0.5 that lost a factor of ten is 0.05."""
UM_TIMES_MAGNIFICATION = 10.0
"""By custom 40x is 0.25 um/px, 20x is 0.5."""
UM_PER_UNIT = {"centimeter": 10_000.0, "inch": 25_400.0}


def resolution(name: str, given_mpp: float | None, properties: Mapping[str, str]) -> float:
    """um/px at level 0.

    name: of the slide, for messages. given_mpp: overrules the file. properties: OpenSlide's. Raises MissingResolution,
    or ImplausibleResolution when pixels are not square, no microscope's, or not those of the stated objective.
    """
    low, high = PLAUSIBLE_MPP
    if given_mpp is not None:
        if not low <= given_mpp <= high:
            raise ImplausibleResolution(f"{name}: mpp={given_mpp} was given, wanted {low} to {high} um/px")
        return given_mpp
    stated = _stated_mpp(properties)
    if stated is None:
        raise MissingResolution(f"{name}: no resolution in the file; pass mpp=, or an mpp column in the cohort's table")
    mpp_x, mpp_y = stated
    if not (low <= mpp_x <= high and low <= mpp_y <= high) or abs(mpp_x - mpp_y) > 0.01 * mpp_x:
        raise ImplausibleResolution(
            f"{name}: {mpp_x:.6g} x {mpp_y:.6g} um/px, wanted square pixels of {low} to {high}; "
            "pass the true one as mpp="
        )
    power = float(properties.get("openslide.objective-power", 0))
    if power and not 0.5 <= mpp_x * power / UM_TIMES_MAGNIFICATION <= 2:
        raise ImplausibleResolution(
            f"{name}: {mpp_x:.6g} um/px from a {power:g}x objective, wanted about "
            f"{UM_TIMES_MAGNIFICATION / power:.3g}; pass the true one as mpp="
        )
    return (mpp_x + mpp_y) / 2


def _stated_mpp(properties: Mapping[str, str]) -> tuple[float, float] | None:
    """um/px along x and y as the scanner says it, else from the TIFF tags."""
    mpp = [properties.get(f"openslide.mpp-{axis}") for axis in "xy"]
    if mpp[0] is not None and mpp[1] is not None:
        return float(mpp[0]), float(mpp[1])
    unit = UM_PER_UNIT.get(properties.get("tiff.ResolutionUnit", ""))
    per_unit = [float(properties.get(f"tiff.{axis}Resolution", 0)) for axis in "XY"]
    return (unit / per_unit[0], unit / per_unit[1]) if unit and all(per_unit) else None
