"""Processes of a pool that end with the process that started them."""

import os
import threading
from multiprocessing import parent_process


def end_with_parent() -> None:
    """To be called in a process of a pool: it ends as soon as its parent is gone, however that ended.

    A pool asks its processes to end, but a parent that is killed asks nothing: they would go on with their work, and
    then wait for more of it.
    """
    parent = parent_process()
    assert parent is not None, "this is no child process"

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
