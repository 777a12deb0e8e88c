"""Reading and writing request traces; the format is told by the content."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import chain
from pathlib import Path

from sim.errors import ConfigError, Problem
from sim.workload.traffic.columns import COLUMNS
from sim.workload.traffic.csv_rows import read_csv
from sim.workload.traffic.forms import Trace
from sim.workload.traffic.json_rows import read_json
from sim.workload.traffic.table import Integers, Table, checked


def read_trace(path: str | Path) -> Trace:
    """The requests of a trace file; ConfigError says what is wrong with it, and where.

    Known are CSV (Azure LLM inference traces, BurstGPT, Vidur, and what `write_trace` writes),
    Mooncake JSON lines, and results of the vLLM serving benchmark saved in detail; each may be
    compressed with gzip. Wall-clock times count from the first row; relative times stay as
    written, so a part of a trace keeps the clock of the whole.
    """
    table = _read(path)
    if table.arrival is None:
        raise ConfigError([Problem(message=table.no_arrivals, file=table.file)])
    rows = checked(table)
    assert rows.arrival_s is not None
    return Trace(
        name=_name(Path(path)),
        arrival_s=rows.arrival_s,
        input_tokens=rows.input_tokens,
        output_tokens=rows.output_tokens,
        dropped=rows.dropped,
        blocks=rows.blocks,
        **rows.more,
    )


def read_lengths(path: str | Path) -> tuple[Integers, Integers]:
    """Observed input and output lengths of a file, in its order; it needs no arrival times.

    Besides every trace format: CSV with columns num_prefill_tokens and num_decode_tokens, or
    with one column `tokens`, which then stands for inputs and outputs alike.
    """
    rows = checked(_read(path))
    return rows.input_tokens, rows.output_tokens


def write_trace(trace: Trace, path: str | Path) -> None:
    """Write `trace` as CSV (gzip if the name ends in .gz); reading it back gives equal numbers.

    Equal traces give equal bytes: the compressed form carries no time and no name.
    """
    columns: dict[str, Sequence[float | str]] = {
        "arrival_s": trace.arrival_s.tolist(),
        "context_tokens": trace.input_tokens.tolist(),
        "generated_tokens": trace.output_tokens.tolist(),
    }
    for column in COLUMNS:
        if (values := getattr(trace, column.name)) is not None:
            names = (trace.names or {}).get(column.name)
            columns[column.name] = (
                values.tolist() if names is None else [names[value] for value in values]
            )
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *zip(*columns.values(), strict=True)])
    content = text.getvalue().encode()
    if str(path).endswith(".gz"):
        packed = io.BytesIO()
        with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as stream:
            stream.write(content)
        content = packed.getvalue()
    with _told(str(path)):
        Path(path).write_bytes(content)


def _name(path: Path) -> str:
    name = path.name.removesuffix(".gz")
    for suffix in (".csv", ".jsonl", ".json"):
        name = name.removesuffix(suffix)
    return name


def _read(path: str | Path) -> Table:
    file = str(path)
    with _told(file), Path(path).open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        # Not by the suffix: traces are often unpacked or packed without renaming.
        stream = gzip.GzipFile(fileobj=raw, mode="rb") if packed else raw
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        line, first = 0, ""
        for first in text:
            line += 1
            if first.strip():
                break
        if not first.strip():
            raise ConfigError([Problem(message="is empty", file=file)])
        if "\0" in first:
            raise ConfigError([Problem(message="is not a text file (UTF-8)", file=file)])
        lines = chain([first], text)
        if first.lstrip()[0] in "{[":
            return read_json(file, lines, line)
        return read_csv(file, lines, line)


@contextmanager
def _told(file: str) -> Iterator[None]:
    """Turn what reading and unpacking may raise into a ConfigError about `file`."""
    if "\0" in file:
        raise ConfigError([Problem(message="a file name has no NUL character", file=repr(file))])
    try:
        yield
        return
    except FileNotFoundError:
        message = "no such file" + _nearest_file(file)
    except (EOFError, zlib.error):
        message = "the compressed data end too early or are damaged: the file looks cut off"
    except gzip.BadGzipFile as error:
        message = f"the compressed data are damaged ({error})"
    except OSError as error:
        message = f"cannot be read or written ({error.strerror or error})"
    except UnicodeDecodeError as error:
        message = f"is not a text file (UTF-8): {error.reason}"
    except csv.Error as error:
        message = f"is not a CSV file ({error})"
    except RecursionError:
        message = "is nested too deeply for a trace"
    raise ConfigError([Problem(message=message, file=file)])


def _nearest_file(file: str) -> str:
    folder, name = Path(file).parent, Path(file).name
    try:
        close = get_close_matches(name, [each.name for each in folder.iterdir()], n=1)
    except (OSError, ValueError):
        return ""
    return f": did you mean {str(folder / close[0])!r}?" if close else ""
