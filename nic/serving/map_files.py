"""Files of maps, one a slide of a patient: their names, and the slide's name inside of them."""

import io
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256

from PIL import Image
from PIL.PngImagePlugin import PngInfo

LONGEST = 80
"""Bytes of a patient's or a slide's name in the name of a file, which may have 255."""
SLIDE = "slide"
"""Key of the text in a PNG that names the slide; GeoJSON has a field at its beginning."""
ROW = re.compile(r"slide (\d+)")
"""How a served model calls the slide of a row: it knows rows by number."""
GEOJSON_SLIDE = re.compile(r'("nic":\{"slide": )"slide (\d+)"')


def file_names(keys: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """A unique file name without suffix for each key, such as (patient, slide).

    The parts of a key are joined by dots. A digest of the key follows if a part is long or has characters that a file
    name should not have, or if two names differ in nothing but upper and lower case.
    """
    plain = {key: ".".join(map(_safe, key)) for key in keys}
    alike = Counter(_folded(name) for name in plain.values())
    return {
        key: name if key == tuple(map(_safe, key)) and alike[_folded(name)] == 1 else f"{name}-{_digest(key)}"
        for key, name in plain.items()
    }


def _safe(name: str) -> str:
    letters = re.sub(r"^\.|[^\w.-]", "_", name) or "_"
    return letters.encode()[:LONGEST].decode(errors="ignore")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _digest(key: tuple[str, ...]) -> str:
    return sha256("\0".join(key).encode(errors="surrogatepass")).hexdigest()[:8]


def mapped_slides(maps: Sequence[bytes], slides: Sequence[str], kind: str) -> list[str]:
    """The slide of each map; a slide that was refused has none.

    Older models do not name the slide in a PNG. Their maps are named by order if each slide has one, else by number.
    """
    rows = [_row(content, kind) for content in maps]
    if None in rows:
        return list(slides) if len(maps) == len(slides) else [f"map {n}" for n in range(1, len(maps) + 1)]
    return [slides[row - 1] for row in rows if row]


def _row(content: bytes, kind: str) -> int | None:
    """The row of the request, from 1 on, that a map is of."""
    if kind == "geojson":
        named = GEOJSON_SLIDE.search(content[:1000].decode(errors="replace"))
        return int(named[2]) if named else None
    with Image.open(io.BytesIO(content)) as picture:
        numbered = ROW.fullmatch(str(picture.info.get(SLIDE, "")))
    return int(numbered[1]) if numbered else None


def of_slide(content: bytes, slide: str, kind: str) -> bytes:
    """The map with the slide's name inside."""
    if kind == "geojson":
        return GEOJSON_SLIDE.sub(lambda match: match[1] + json.dumps(slide), content.decode(), count=1).encode()
    with Image.open(io.BytesIO(content)) as picture:
        return png_of(picture, slide)


def png_of(picture: Image.Image, slide: str) -> bytes:
    """A PNG with the slide's name among its texts."""
    texts, file = PngInfo(), io.BytesIO()
    texts.add_itxt(SLIDE, slide)
    picture.save(file, "PNG", pnginfo=texts)
    return file.getvalue()
