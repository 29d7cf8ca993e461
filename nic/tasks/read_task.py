"""From an entry of a study file to a tile task, in any layout."""

from nic.tasks.annotated_slides import read_annotated_slides
from nic.tasks.entries import FolderEntry, Hdf5Entry, MarksEntry, SlidesEntry, TileTaskEntry
from nic.tasks.hdf5_tiles import read_hdf5_tiles
from nic.tasks.image_folder import read_image_folder
from nic.tasks.marked_images import read_marked_images
from nic.tasks.tile_table import read_tile_table
from nic.tasks.tile_task import TileTask


def read_task(entry: TileTaskEntry) -> TileTask:
    """The tile task of an entry; its tiles are decoded later, by load_tiles. Raises TaskError, or SlideError."""
    match entry:
        case FolderEntry():
            return read_image_folder(entry)
        case Hdf5Entry():
            return read_hdf5_tiles(entry)
        case MarksEntry():
            return read_marked_images(entry)
        case SlidesEntry():
            return read_annotated_slides(entry)
        case _:
            return read_tile_table(entry)
