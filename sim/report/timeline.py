"""Trace-event files, as Perfetto and chrome://tracing open them."""

from __future__ import annotations

import gzip
import io
import json
from contextlib import ExitStack
from pathlib import Path

from sim.results.timeline import Timeline


def write_timeline(timeline: Timeline, path: Path) -> int:
    """Write `timeline` as trace-event JSON, an event a line; returns how many.

    Compressed where the name ends in .gz. Equal timelines give equal bytes.
    """
    encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode
    count = 0
    with ExitStack() as stack:
        stream = _text(path, stack)
        about = encode(timeline.about())
        stream.write(f'{{"displayTimeUnit":"ms","otherData":{about},"traceEvents":[')
        for count, event in enumerate(timeline.events(), start=1):
            stream.write(("\n" if count == 1 else ",\n") + encode(event))
        stream.write("\n]}\n")
    return count


def _text(path: Path, stack: ExitStack) -> io.TextIOWrapper:
    if path.suffix != ".gz":
        return stack.enter_context(path.open("w", encoding="utf-8", newline="\n"))
    raw = stack.enter_context(path.open("wb"))
    # neither name nor time go into the header, or equal runs would differ
    packed = gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0)
    return stack.enter_context(
        io.TextIOWrapper(stack.enter_context(packed), encoding="utf-8", newline="\n")
    )
