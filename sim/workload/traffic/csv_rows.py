"""Request traces in CSV: which column is what, and its numbers."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import get_close_matches
from itertools import islice

import numpy as np

from sim.workload.traffic.columns import COLUMNS
from sim.workload.traffic.table import Findings, Numbers, Table, numbered, numbers

# Names under which public traces carry each column; compared without case, spaces and signs.
# Azure LLM inference traces: TIMESTAMP,ContextTokens,GeneratedTokens. BurstGPT: Timestamp,
# Request tokens,Response tokens. Vidur: arrived_at,num_prefill_tokens,num_decode_tokens.
_ARRIVAL = ("arrival_s", "TIMESTAMP", "arrived_at")
_INPUT = ("context_tokens", "input_tokens", "Request tokens", "num_prefill_tokens", "input_length")
_OUTPUT = (
    "generated_tokens",
    "output_tokens",
    "Response tokens",
    "num_decode_tokens",
    "output_length",
    "trace_generated_tokens",
)
_LENGTH = ("tokens",)
_ACTUAL = ("actual_generated_tokens",)

_EXAMPLE = "arrival_s,context_tokens,generated_tokens"
_CHUNK = 65_536

_WALL = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2})"
    r"(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:?[0-9]{2})?"
)


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Positions of the columns in a row; `actual` overrides `output` where it is filled."""

    header: tuple[str, ...]
    arrival: int | None
    input: int
    output: int
    actual: int | None
    more: Mapping[str, int]


@dataclass(kw_only=True)
class _WallClock:
    """Seconds since the first time it is shown; exact to the nanosecond.

    A float of seconds since 1970 would lose the 100 ns ticks of the Azure traces.
    """

    origin_ns: int | None = None
    whole: dict[tuple[str, str], int] = field(default_factory=dict)

    def seconds(
        self, findings: Findings, texts: Sequence[str], lines: Sequence[int], column: str
    ) -> Numbers:
        """`texts` such as "2023-11-16 18:15:46.6805900", without a zone taken as UTC."""
        values = np.full(len(texts), np.nan)
        for row, text in enumerate(texts):
            now = self._nanoseconds(text)
            if now is None:
                findings.add(
                    f"{text[:40]!r} is not a time: write seconds or YYYY-MM-DD HH:MM:SS.ffffff",
                    line=lines[row],
                    column=column,
                )
                continue
            if self.origin_ns is None:
                self.origin_ns = now
            values[row] = (now - self.origin_ns) / 1e9
        return values

    def _nanoseconds(self, text: str) -> int | None:
        match = _WALL.fullmatch(text.strip())
        if match is None:
            return None
        to_second, fraction, zone = match[1], match[2] or "", match[3] or "Z"
        whole = self.whole.get((to_second, zone))
        if whole is None:
            try:
                moment = datetime.fromisoformat(to_second + zone)
                passed = moment - datetime(1970, 1, 1, tzinfo=UTC)
            except (ValueError, OverflowError):
                return None
            whole = passed.days * 86_400 + passed.seconds
            self.whole[to_second, zone] = whole
        return whole * 10**9 + int(fraction.ljust(9, "0"))


def read_csv(file: str, text: Iterable[str], first_line: int) -> Table:
    """The requests of a CSV whose header is the first of the lines `text`."""
    findings = Findings(file=file)
    reader = csv.reader(text)
    header = tuple(name.strip() for name in next(reader))
    layout = _layout(findings, header, first_line)
    offset = first_line - 1
    arrivals: list[Numbers] = []
    inputs: list[Numbers] = []
    outputs: list[Numbers] = []
    more: dict[str, list[Numbers]] = {name: [] for name in layout.more}
    named: dict[str, list[str]] = {each.name: [] for each in COLUMNS if each.names}
    places: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
    clock: _WallClock | None = None
    for rows, lines in _chunks(findings, reader, header, offset):
        if layout.arrival is not None:
            texts = [row[layout.arrival] for row in rows]
            if not places and any(_WALL.fullmatch(text.strip()) for text in texts[:10]):
                clock = _WallClock()
            name = header[layout.arrival]
            arrivals.append(
                clock.seconds(findings, texts, lines, name)
                if clock
                else numbers(findings, texts, lines, name)
            )
        inputs.append(
            numbers(findings, [row[layout.input] for row in rows], lines, header[layout.input])
        )
        outputs.append(numbers(findings, _outputs(layout, rows), lines, header[layout.output]))
        for column, place in layout.more.items():
            texts = [row[place] for row in rows]
            more[column].append(
                numbered(findings, texts, lines, header[place], named[column])
                if column in named
                else numbers(findings, texts, lines, header[place])
            )
        places.append(np.array(lines, dtype=np.int64))
    findings.stop_if_any()
    if not places:
        findings.add("has a header but no rows: one line a request is due", line=first_line)
        findings.stop_if_any()
    return Table(
        file=file,
        where=np.concatenate(places),
        arrival=None if layout.arrival is None else np.concatenate(arrivals),
        input=np.concatenate(inputs),
        output=np.concatenate(outputs),
        arrival_name="" if layout.arrival is None else header[layout.arrival],
        input_name=header[layout.input],
        output_name=header[layout.output],
        clock="wall" if clock else "relative",
        more={
            column: (header[place], np.concatenate(more[column]))
            for column, place in layout.more.items()
        },
        names={column: named[column] for column in layout.more if column in named},
        no_arrivals=(
            "has no arrival times (no column 'arrival_s'): use it as a length distribution, "
            f"'input: {{empirical: {file}}}'"
        ),
    )


def _outputs(layout: _Layout, rows: Sequence[Sequence[str]]) -> list[str]:
    if layout.actual is None:
        return [row[layout.output] for row in rows]
    return [row[layout.actual].strip() or row[layout.output] for row in rows]


def _chunks(
    findings: Findings, reader: Iterator[list[str]], header: tuple[str, ...], offset: int
) -> Iterator[tuple[list[list[str]], list[int]]]:
    """Rows of full width and their lines, some thousands at a time: traces can be gigabytes."""
    width = len(header)
    short: tuple[int, list[str]] | None = None
    while True:
        rows: list[list[str]] = []
        lines: list[int] = []
        seen = 0
        for row in islice(reader, _CHUNK):
            seen += 1
            if not row or (len(row) == 1 and not row[0].strip()):
                continue
            line = int(reader.line_num) + offset  # type: ignore[attr-defined]  # csv.reader's own
            if short is not None:
                _ragged(findings, *short, width, last=False)
                short = None
            if len(row) == width:
                rows.append(row)
                lines.append(line)
            else:
                short = (line, row)
        if rows:
            yield rows, lines
        if seen < _CHUNK:
            break
    if short is not None:
        _ragged(findings, *short, width, last=True)


def _ragged(findings: Findings, line: int, row: Sequence[str], width: int, *, last: bool) -> None:
    cut = ": the file looks cut off here" if last and len(row) < width else ""
    columns = "column" if len(row) == 1 else "columns"
    findings.add(
        f"has {len(row)} {columns}, the header {width}{cut}", line=line, excerpt=",".join(row)
    )


def _plain(name: str) -> str:
    return "".join(sign for sign in name.lower() if sign.isalnum())


def _layout(findings: Findings, header: tuple[str, ...], line: int) -> _Layout:
    if all(_is_data(cell) for cell in header):
        findings.add(
            f"the first line is data: put a header above it, such as {_EXAMPLE}",
            line=line,
            excerpt=",".join(header),
        )
        findings.stop_if_any()
    length = _find(findings, header, _LENGTH, line)
    arrival = _find(findings, header, _ARRIVAL, line)
    input_ = _find(findings, header, _INPUT, line)
    output = _find(findings, header, _OUTPUT, line)
    if length is not None and input_ is None and output is None:
        input_ = output = length
    for found, what, names in ((input_, "input", _INPUT), (output, "output", _OUTPUT)):
        if found is None:
            findings.add(_missing(header, what, names), line=line)
    if arrival is None and (near := _near(header, _ARRIVAL[:1])):
        findings.add(f"no column for the arrival times: {near}", line=line)
    more: dict[str, int] = {}
    for column in COLUMNS:
        place = _find(findings, header, column.aliases, line)
        if place is not None:
            more[column.name] = place
        elif near := _near(header, column.aliases):
            findings.add(f"no column for the {column.titles}: {near}", line=line)
    findings.stop_if_any()
    assert input_ is not None
    assert output is not None
    return _Layout(
        header=header,
        arrival=arrival,
        input=input_,
        output=output,
        actual=_find(findings, header, _ACTUAL, line),
        more=more,
    )


def _is_data(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return _WALL.fullmatch(cell) is not None
    return True


def _find(
    findings: Findings, header: tuple[str, ...], names: tuple[str, ...], line: int
) -> int | None:
    wanted = {_plain(name) for name in names}
    found = [place for place, name in enumerate(header) if _plain(name) in wanted]
    if len(found) > 1:
        both = " and ".join(repr(header[place]) for place in found)
        findings.add(f"columns {both} mean the same: keep one", line=line)
    return found[0] if found else None


def _near(header: tuple[str, ...], names: tuple[str, ...]) -> str:
    """A hint at the column most like one of `names`, or an empty string."""
    plain = {_plain(name): name for name in names}
    for name in header:
        close = get_close_matches(_plain(name), plain, n=1, cutoff=0.75)
        if close and close[0] != _plain(name):
            return f"{name[:40]!r} is not known, did you mean {plain[close[0]]!r}?"
    return ""


def _missing(header: tuple[str, ...], what: str, names: tuple[str, ...]) -> str:
    free = tuple(
        name
        for name in header
        if _plain(name) not in {_plain(known) for known in (*_ARRIVAL, *_INPUT, *_OUTPUT)}
    )
    near = _near(free, names)
    if near:
        return f"no column for the {what} tokens: {near}"
    there = ", ".join(name[:40] for name in header[:12])
    return f"no column for the {what} tokens, such as {names[0]!r}; there are: {there}"
