"""The process that `nic.serving.apart` asks: a question a line in, an answer a line out, until nobody asks.

    python -m nic.serving.reader <encoder's graph, or empty> <cutting, as JSON> <threads> <megabytes>

It says {} when it is ready. The kernel ends it when a question takes too long or memory runs out, wherever a native
library may be at that moment.
"""

import errno
import json
import os
import resource
import signal
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.cutting import Cutting
from nic.encoder.onnx import OnnxEncoder
from nic.errors import EncoderError, NicError, OverLimit, UnreachedSlide
from nic.serving.effort import Effort
from nic.serving.faults import place_of
from nic.serving.reading import Here
from nic.slides.slide import SlideSource

OURS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors of the system that are this machine's and not the slide's."""


def answer(here: Here, question: dict[str, Any]) -> dict[str, Any]:
    """What was asked for; nothing where codes are left in the file `into`; the name and words of an error; or, as
    `fault`, the place of an error that nobody foresaw."""
    try:
        return _answered(here, question)
    except MemoryError:
        return {"error": OverLimit.__name__, "message": "it wants more memory than the server allows"}
    except NicError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in OURS:
            return {"fault": place_of(error.__cause__)}
        return {"error": type(error).__name__, "message": str(error)}
    except OSError as error:
        if error.errno is None or error.errno in OURS:
            return {"fault": place_of(error)}
        words = f"{question['name']}: it cannot be read now ({errno.errorcode.get(error.errno, error.errno)})"
        return {"error": UnreachedSlide.__name__, "message": words}
    except Exception as error:
        return {"fault": place_of(error)}


def _answered(here: Here, question: dict[str, Any]) -> dict[str, Any]:
    deadline_s = time.monotonic() + question["seconds"]
    if question["do"] == "spec":
        return {"spec": here.spec.to_json()}
    roots = tuple(map(Path, question["roots"]))
    source = SlideSource(question["name"], Path(question["path"]), question["mpp"])
    if question["do"] == "look":
        return asdict(here.look(source, roots, deadline_s))
    into = Path(question["into"])
    if question["do"] == "compress":
        here.compress(source, roots, Effort(question["tiles"], deadline_s, question["batch_tiles"]), into)
    else:
        bounds = {name: question[name] for name in ("tiles", "features_bytes", "memory_bytes")}
        file = here.features(source, roots, Effort(deadline_s=deadline_s, **bounds), into)
        CompressedSlide.load(file).save(into)
    return {}


def main(graph: str, cutting: str, threads: str, most_mb: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    here = Here(None, Cutting.of(json.loads(cutting)), int(threads))
    fault = ""
    if graph:
        try:
            here = replace(here, encoder=OnnxEncoder(Path(graph)))
        except EncoderError as error:
            fault = str(error)
    resource.setrlimit(resource.RLIMIT_DATA, (int(most_mb) << 20, int(most_mb) << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, min(question["seconds"] + question["grace_s"], 1e6))
        text = json.dumps({"error": EncoderError.__name__, "message": fault} if fault else answer(here, question))
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(text, file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
