"""Form of runtimes: overheads and shares fitted to measured times, in files of their own."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from sim.config import library
from sim.config.document import Document
from sim.config.fields import Bandwidth, Form, Reading, ShareOfPeak, Text, Time
from sim.config.kernels_form import FittedForm
from sim.config.validate import validated
from sim.hardware.runtime import Runtime


class RuntimeForm(Form):
    """A serving engine or library; `hardware.runtime.Runtime` says what each number is."""

    title: Text
    name: Text | None = None
    source: Text
    fitted: FittedForm
    host_step: Time | None = None
    host_sequence: Time | None = None
    launch: Time | None = None
    memory: ShareOfPeak | None = None
    compute: ShareOfPeak | None = None
    attention: ShareOfPeak | None = None
    slot: Bandwidth | None = None
    fill: Time | None = None


def _number(reading: Reading | None) -> float | None:
    return None if reading is None else reading.value


def to_runtime(form: RuntimeForm, name: str) -> Runtime:
    """The runtime of a form."""
    return Runtime(
        name=form.name or name,
        host_step_s=_number(form.host_step),
        host_sequence_s=_number(form.host_sequence),
        launch_s=_number(form.launch),
        memory=_number(form.memory),
        compute=_number(form.compute),
        attention=_number(form.attention),
        slot_B_per_s=_number(form.slot),
        fill_s=_number(form.fill),
        fitted_on=form.fitted.on,
    )


@cache
def runtime_form(name: str, base: Path) -> tuple[str, RuntimeForm, Document]:
    """Name, form and document of a runtime, by name or path."""
    found, document = library.found_document("runtimes", name, base)
    return found, validated(RuntimeForm, document), document


def load_runtime(name_or_path: str, base: Path | None = None) -> Runtime:
    """The runtime of a name or a path."""
    found, form, _ = runtime_form(name_or_path, base or Path())
    return to_runtime(form, found)
