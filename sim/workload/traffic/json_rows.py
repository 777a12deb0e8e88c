"""Request traces in JSON: Mooncake lines and results of the vLLM serving benchmark."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np

from sim.workload.traffic.columns import COLUMNS
from sim.workload.traffic.table import Findings, Numbers, Table, numbered

# Names by which Mooncake-like traces carry each field; the first is Mooncake's own.
_ARRIVAL = ("timestamp", "created_time")
_BLOCKS = "hash_ids"
_INPUT = ("input_length", "input_tokens")
_OUTPUT = ("output_length", "output_tokens")

_FIXED = 3
"""Arrivals, inputs and outputs come before `COLUMNS`."""

# Any of these marks a result file of `vllm bench serve`.
_VLLM = ("input_lens", "output_lens", "ttfts", "request_throughput", "total_input_tokens")


def read_json(file: str, text: Iterable[str], first_line: int) -> Table:
    """The requests of JSON lines, or of one JSON document that may span many lines."""
    lines = iter(text)
    first = next(lines)
    try:
        record = json.loads(first)
    except ValueError:
        return _document(file, first + "".join(lines), first_line)
    if isinstance(record, dict) and any(key in record for key in _VLLM):
        return _document(file, first + "".join(lines), first_line)
    return _mooncake(file, record, lines, first_line)


def _document(file: str, text: str, first_line: int) -> Table:
    findings = Findings(file=file)
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        cut = ": the file looks cut off" if error.pos >= len(text.rstrip()) - 1 else ""
        findings.add(f"not valid JSON ({error.msg}){cut}", line=first_line - 1 + error.lineno)
    except ValueError as error:  # an integer of thousands of digits
        findings.add(f"not valid JSON ({error})")
    else:
        if isinstance(document, dict) and any(key in document for key in _VLLM):
            return _vllm(file, document)
        findings.add(
            "not a known trace: JSON lines with timestamp (ms), input_length, output_length "
            "are, and results of 'vllm bench serve --save-result --save-detailed'"
        )
    findings.stop_if_any()
    raise AssertionError("a finding was raised")


def _mooncake(file: str, record: Any, rest: Iterable[str], first_line: int) -> Table:
    findings = Findings(file=file)
    names = _names(findings, record, first_line)
    columns: tuple[list[Any], ...] = tuple([] for _ in names)
    lines: list[int] = []
    broken: tuple[int, str] | None = None
    line = first_line
    blocks: list[list[int]] | None = [] if _BLOCKS in record else None
    _row(findings, record, names, columns, lines, blocks, line)
    for text in rest:
        line += 1
        if not text.strip():
            continue
        if broken is not None:
            findings.add(f"not valid JSON ({broken[1]})", line=broken[0])
            broken = None
        try:
            record = json.loads(text)
        except ValueError as error:
            broken = (line, getattr(error, "msg", str(error)))
            continue
        _row(findings, record, names, columns, lines, blocks, line)
    if broken is not None:
        findings.add(f"not valid JSON ({broken[1]}): the file looks cut off here", line=broken[0])
    findings.stop_if_any()
    named: dict[str, list[str]] = {}
    for column, name, texts in zip(COLUMNS, names[_FIXED:], columns[_FIXED:], strict=True):
        if column.names and name:
            named[column.name] = []
            texts[:] = numbered(findings, texts, lines, name, named[column.name])
    findings.stop_if_any()
    arrival, inputs, outputs, *others = (np.array(each, dtype=np.float64) for each in columns)
    has_arrivals = names[0] in _ARRIVAL
    return Table(
        file=file,
        where=np.array(lines, dtype=np.int64),
        arrival=arrival / 1e3 if has_arrivals else None,
        input=inputs,
        output=outputs,
        arrival_name=names[0],
        input_name=names[1],
        output_name=names[2],
        blocks=blocks,
        more={
            column.name: (name, values)
            for column, name, values in zip(COLUMNS, names[_FIXED:], others, strict=True)
            if name
        },
        names=named,
        no_arrivals=(
            "has no arrival times (no field 'timestamp', in ms): use it as a length "
            f"distribution, 'input: {{empirical: {file}}}'"
        ),
    )


def _names(findings: Findings, record: Any, line: int) -> tuple[str, ...]:
    """The names this file uses, as its first record shows them; "" where it has none."""
    if not isinstance(record, dict):
        findings.add('a JSON object a line is due, such as {"timestamp": 0, ...}', line=line)
        findings.stop_if_any()
    chosen: list[str] = []
    known = {*_ARRIVAL, *_INPUT, *_OUTPUT, *(name for each in COLUMNS for name in each.aliases)}
    for what, names in (
        ("arrival times", _ARRIVAL),
        ("input tokens", _INPUT),
        ("output tokens", _OUTPUT),
        *((column.titles, column.aliases) for column in COLUMNS),
    ):
        found = [name for name in names if name in record]
        near = [
            (key, close[0])
            for key in record
            if key not in known and (close := get_close_matches(key, names, n=1, cutoff=0.75))
        ]
        if not found and near:
            key, name = near[0]
            findings.add(
                f"no field for the {what}: {key[:40]!r} is not known, did you mean {name!r}?",
                line=line,
            )
        elif not found and names in (_INPUT, _OUTPUT):
            there = ", ".join(repr(key[:40]) for key in list(record)[:12]) or "none"
            findings.add(f"no field for the {what}, {names[0]!r}; there are: {there}", line=line)
        chosen.append(found[0] if found else "")
    findings.stop_if_any()
    return tuple(chosen)


def _row(
    findings: Findings,
    record: Any,
    names: tuple[str, ...],
    columns: tuple[list[float], ...],
    lines: list[int],
    blocks: list[list[int]] | None,
    line: int,
) -> None:
    if not isinstance(record, dict):
        findings.add("a JSON object is due", line=line)
        return
    for place, (name, column) in enumerate(zip(names, columns, strict=True)):
        if name == "":
            continue
        if name not in record:
            findings.add("is missing", line=line, column=name)
            continue
        value: Any = record[name]
        if place >= _FIXED and COLUMNS[place - _FIXED].names:
            value, due = str(value) if isinstance(value, str | int) else None, "no name"
        else:
            value, due = _number(value), "not a number"
        if value is None:
            findings.add(f"{str(record[name])[:40]!r} is {due}", line=line, column=name)
            continue
        column.append(value)
    if blocks is not None:
        ids = record.get(_BLOCKS)
        if isinstance(ids, list) and all(type(each) is int for each in ids):
            blocks.append(ids)
        else:
            findings.add("a list of block numbers is due", line=line, column=_BLOCKS)
            blocks.append([])
    lines.append(line)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _vllm(file: str, document: Mapping[str, Any]) -> Table:
    """A result of `vllm bench serve`; `start_times` is when the client sent each request."""
    findings = Findings(file=file)
    inputs = _list(findings, document, "input_lens")
    outputs = _list(findings, document, "output_lens")
    start = _list(findings, document, "start_times") if "start_times" in document else None
    findings.stop_if_any()
    if not len(inputs):
        findings.add("holds no requests", column="input_lens")
    for name, column in (("output_lens", outputs), ("start_times", start)):
        if column is not None and len(column) != len(inputs):
            findings.add(
                f"has {len(column)} elements, 'input_lens' {len(inputs)}: the file looks cut off",
                column=name,
            )
    findings.stop_if_any()
    errors = document.get("errors")
    if isinstance(errors, Sequence) and len(errors) == len(inputs):
        failed = np.array([bool(error) for error in errors])
        outputs = np.where(failed, 0.0, outputs)
    if start is None and _all_at_once(document):
        start = np.zeros(len(inputs))
    order = np.arange(len(inputs))
    if start is not None:
        order = np.argsort(start, kind="stable")
        earliest = start[order[0]]
        with np.errstate(over="ignore", invalid="ignore"):  # infinite times are told later
            start = start[order] - (earliest if np.isfinite(earliest) else 0.0)
    return Table(
        file=file,
        where=order.astype(np.int64),
        numbered="index",
        arrival=start,
        input=inputs[order],
        output=outputs[order],
        arrival_name="start_times",
        input_name="input_lens",
        output_name="output_lens",
        clock="wall",
        no_arrivals=_vllm_advice(file, document),
    )


def _list(findings: Findings, document: Mapping[str, Any], name: str) -> Numbers:
    values = document.get(name)
    if not isinstance(values, list):
        found = "has no list" if values is None else "is not a list"
        findings.add(
            f"{found} {name!r}: record it with 'vllm bench serve --save-result --save-detailed'",
            column=name,
        )
        return np.empty(0)
    column = np.full(len(values), np.nan)
    for row, value in enumerate(values):
        number = _number(value)
        if number is None:
            findings.add(f"{str(value)[:40]!r} is not a number", column=f"{name}[{row}]")
        else:
            column[row] = number
    return column


def _rate(document: Mapping[str, Any]) -> float | None:
    """Requests per second offered, infinite if all were sent at once."""
    rate = document.get("request_rate")
    if rate == "inf":
        return float("inf")
    return _number(rate)


def _all_at_once(document: Mapping[str, Any]) -> bool:
    return _rate(document) == float("inf") and document.get("max_concurrency") is None


def _vllm_advice(file: str, document: Mapping[str, Any]) -> str:
    rate = _rate(document)
    concurrency = document.get("max_concurrency")
    lengths = f"input: {{empirical: {file}}}, output: {{empirical: {file}}}"
    if isinstance(concurrency, int):
        form = f"'closed: {{concurrency: {concurrency}, {lengths}, ...}}'"
    elif rate is not None and np.isfinite(rate):
        form = f"'poisson: {{rate: {rate:g} /s, {lengths}, ...}}'"
    else:
        form = f"'poisson: {{{lengths}, ...}}'"
    return f"has no 'start_times' (recent versions of vLLM save them): use its lengths, {form}"
