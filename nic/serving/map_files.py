"""The files of a cohort's maps: each is of one slide of one patient, is named by both, and says so inside."""

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
"""Bytes of a patient's or a slide's name in a file's, of the 255 that file systems have room for."""
SLIDE = "slide"
"""Key of a PNG's text that names the slide; in GeoJSON it is a field of the head."""
ROW = re.compile(r"slide (\d+)")
"""What a served model calls the slide of a request's row: to it slides have no names."""
GEOJSON_SLIDE = re.compile(r'("nic":\{"slide": )"slide (\d+)"')


def file_names(keys: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """A file's name for each of the keys, such as (patient, slide), without a suffix: no two have one.

    Names are joined by dots. A digest of the key follows where a name holds what no file's name should, or is long, or
    where two would be alike to a file system that takes upper and lower case for one.
    """
    plain = {key: ".".join(map(_shown, key)) for key in keys}
    alike = Counter(_folded(name) for name in plain.values())
    return {
        key: name if key == tuple(map(_shown, key)) and alike[_folded(name)] == 1 else f"{name}-{_digest(key)}"
        for key, name in plain.items()
    }


def _shown(name: str) -> str:
    letters = re.sub(r"^\.|[^\w.-]", "_", name) or "_"
    return letters.encode()[:LONGEST].decode(errors="ignore")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _digest(key: tuple[str, ...]) -> str:
    return sha256("\0".join(key).encode(errors="surrogatepass")).hexdigest()[:8]


def mapped_slides(maps: Sequence[bytes], slides: Sequence[str], kind: str) -> list[str]:
    """Which of a patient's slides each map is of: a slide that was refused has none.

    Older models do not say it in a PNG; theirs are named by their order where every slide has one, and numbered else.
    """
    rows = [_row(content, kind) for content in maps]
    if None in rows:
        return list(slides) if len(maps) == len(slides) else [f"map {n}" for n in range(1, len(maps) + 1)]
    return [slides[row - 1] for row in rows if row]


def _row(content: bytes, kind: str) -> int | None:
    """Of the request, from 1 on."""
    if kind == "geojson":
        named = GEOJSON_SLIDE.search(content[:1000].decode(errors="replace"))
        return int(named[2]) if named else None
    with Image.open(io.BytesIO(content)) as picture:
        numbered = ROW.fullmatch(str(picture.info.get(SLIDE, "")))
    return int(numbered[1]) if numbered else None


def of_slide(content: bytes, slide: str, kind: str) -> bytes:
    """The map, which names the slide inside."""
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
