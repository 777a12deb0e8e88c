"""What commands share: JSON to standard output, progress to standard error, common options."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from sim.engines.serving.outcome import Progress

Decorated = Callable[..., Any]

QUIET_SECONDS = 1.0
"""A run shorter than this needs no progress line."""


def scenario_options(function: Decorated) -> Decorated:
    """The argument SCENARIO and the options --set and --json."""
    function = click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
    )(function)
    function = click.option(
        "--set",
        "sets",
        multiple=True,
        metavar="PATH=VALUE",
        help="Change one value, e.g. scheduler.max_batch=64 or "
        "system.device.memories.hbm.bandwidth='5 TB/s'. May be repeated.",
    )(function)
    return click.argument("scenario")(function)


def print_json(document: Any) -> None:
    """Print `document` as JSON; what is not a number is a bug, not NaN."""
    click.echo(json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False))


def check_writable(path: Path) -> None:
    """OSError where `path` cannot be written; changes nothing there."""
    there = path.exists() or path.is_symlink()
    with path.open("ab"):
        pass
    if not there:
        path.unlink()


def tell_compiling() -> None:
    """Say on standard error that the kernel compiles, once it does it for the first time.

    That is when something runs: what is wrong with the input is told without it.
    """
    from sim.kernel.compiled import when_cold

    when_cold(lambda: click.echo("compiling the kernel, once: about 40 s ...", err=True))


@contextmanager
def status_line(told: Callable[..., str]) -> Iterator[Callable[..., None]]:
    """A line on standard error that shows how far long work is, in the words of `told`.

    Gives what work calls from time to time; it passes its arguments on to `told`.
    """
    tell_compiling()
    started = last = time.monotonic()
    live, shown = sys.stderr.isatty(), False

    def update(*how_far: float) -> None:
        nonlocal last, shown
        now = time.monotonic()
        if now - started < QUIET_SECONDS or now - last < (0.1 if live else 5.0):
            return
        last, shown = now, True
        click.echo(f"\r{told(*how_far):<78}" if live else told(*how_far), err=True, nl=not live)

    try:
        yield update
    finally:
        if shown and live:
            click.echo("", err=True)


@contextmanager
def progress(label: str) -> Iterator[Progress]:
    """How far a run is, once it takes long."""

    def told(ended: int, total: int, simulated_s: float) -> str:
        return f"{label}: {ended:,} of {total:,} requests, {simulated_s:,.0f} s simulated"

    with status_line(told) as update:
        yield update
