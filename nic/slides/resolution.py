"""The um/px of a slide: given by the user or stated by its file, and checked to be plausible."""

from collections.abc import Mapping

from nic.errors import ImplausibleResolution, MissingResolution

PLAUSIBLE_MPP = (0.08, 40.0)
"""The finest objectives give 0.1; a 0.5 that is wrong by a factor of ten is 0.05."""
UM_TIMES_MAGNIFICATION = 10.0
"""By custom 40x is 0.25 um/px, 20x is 0.5."""
FURTHEST_FROM_CUSTOM = 10**0.5
"""A scanner's um/px may differ by this factor from the custom of its objective: a 20x objective with a 1.6x adapter
gives 0.234, and a file that was made smaller keeps the 40x of its original. A larger difference is nearer to an error
by a factor of ten."""
UM_PER_UNIT = {"centimeter": 10_000.0, "inch": 25_400.0}


def resolution(name: str, given_mpp: float | None, properties: Mapping[str, str]) -> float:
    """um/px at level 0.

    name: of the slide, for messages. given_mpp: overrules the file. properties: OpenSlide's. Raises MissingResolution;
    ImplausibleResolution when pixels are not square, or fit no microscope or not the stated objective.
    """
    low, high = PLAUSIBLE_MPP
    if given_mpp is not None:
        if not low <= given_mpp <= high:
            raise ImplausibleResolution(f"{name}: mpp={given_mpp}, wanted {low} to {high} um/px")
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
    power = _number(properties.get("openslide.objective-power"))
    times_custom = mpp_x * power / UM_TIMES_MAGNIFICATION
    if power > 0 and not 1 / FURTHEST_FROM_CUSTOM < times_custom < FURTHEST_FROM_CUSTOM:
        raise ImplausibleResolution(
            f"{name}: {mpp_x:.6g} um/px from a {power:g}x objective, wanted about "
            f"{UM_TIMES_MAGNIFICATION / power:.3g}; pass the true one as mpp="
        )
    return (mpp_x + mpp_y) / 2


def _stated_mpp(properties: Mapping[str, str]) -> tuple[float, float] | None:
    """um/px along x and y as the scanner states them, else from the TIFF tags."""
    mpp_x, mpp_y = (_number(properties.get(f"openslide.mpp-{axis}")) for axis in "xy")
    if mpp_x and mpp_y:
        return mpp_x, mpp_y
    unit = UM_PER_UNIT.get(properties.get("tiff.ResolutionUnit", ""))
    per_unit = [_number(properties.get(f"tiff.{axis}Resolution")) for axis in "XY"]
    return (unit / per_unit[0], unit / per_unit[1]) if unit and all(per_unit) else None


def _number(text: str | None) -> float:
    """A property as a number; 0 if it is missing or not a number."""
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
