"""The process that `nic.serving.apart` asks: a question a line in, an answer a line out, until nobody asks.

    python -m nic.serving.reader <encoder's graph> <cutting, as JSON> <threads> <megabytes>

The kernel ends it when a question takes too long or memory runs out, wherever a native library may be at that moment.
"""

import json
import os
import resource
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nic.compression.cutting import Cutting
from nic.encoder.onnx import OnnxEncoder
from nic.errors import NicError, OverLimit
from nic.serving.reading import Effort, Here
from nic.slides.slide import SlideSource


def answer(here: Here, question: dict[str, Any]) -> dict[str, Any]:
    """What `look` finds; nothing where codes are left in the file `into`; or the name and words of an error."""
    source = SlideSource(question["name"], Path(question["path"]), question["mpp"])
    deadline_s = time.monotonic() + question["seconds"]
    try:
        if question["do"] == "look":
            return asdict(here.look(source, deadline_s))
        effort = Effort(question["tiles"], deadline_s, question["batch_tiles"])
        here.compress(source, effort).save(Path(question["into"]))
    except NicError as error:
        return {"error": type(error).__name__, "message": str(error)}
    except MemoryError:
        return {"error": OverLimit.__name__, "message": "it wants more memory than the server allows"}
    return {}


def main(graph: str, cutting: str, threads: str, most_mb: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    here = Here(OnnxEncoder(Path(graph)), Cutting.of(json.loads(cutting)), int(threads))
    resource.setrlimit(resource.RLIMIT_DATA, (int(most_mb) << 20, int(most_mb) << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        question = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, min(question["seconds"] + question["grace_s"], 1e6))
        text = json.dumps(answer(here, question))
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(text, file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
