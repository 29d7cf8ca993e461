"""Work that ends when the process that started it has ended, and when the system asks it to."""

import os
import signal
import threading
import time
from multiprocessing import parent_process
from types import FrameType

LOOK_S = 1.0
"""Seconds between two looks for the process that started this one."""


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


def interrupt_when_asked() -> None:
    """SIGTERM, which `kill` and schedulers send, raises KeyboardInterrupt in the main thread, as Ctrl-C does.

    So a run is closed, and what is finished is kept. Once one of both has come, a further SIGTERM is ignored.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else Ctrl-C is ignored, as in the background
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt(f"stopped by {signal.Signals(number).name}")


def interrupt_with_starter() -> None:
    """Send SIGTERM to this process when the one that started it is gone.

    Else the stage of a study that was killed would work on, beside the same stage of the study that is started again.
    """
    starter, main = os.getppid(), threading.main_thread().ident
    assert main is not None

    def watch() -> None:
        while os.getppid() == starter:
            time.sleep(LOOK_S)
        signal.pthread_kill(main, signal.SIGTERM)  # to the main thread, so that it stops waiting

    threading.Thread(target=watch, daemon=True).start()
