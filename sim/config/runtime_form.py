"""Form of runtimes: overheads and shares fitted to measured times, in files of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from sim.config.document import Document
from sim.config.fields import (
    Bandwidth,
    Count,
    Form,
    Number,
    Reading,
    ShareOfPeak,
    SizeOrZero,
    Text,
    Time,
)
from sim.config.fitted_files import fitted_form
from sim.config.kernels_form import FittedForm
from sim.config.validate import validated
from sim.hardware.runtime import Habits, Kind, Runtime
from sim.units import Sourced

Part = Annotated[Reading, Number(low=0.0, high=1.0)]


class HabitsForm(Form):
    """What a server does of its own; `hardware.runtime.Habits` says what each is."""

    source: Text
    note: Text | None = None
    kind: Kind
    token_budget: Count
    max_batch: Count
    memory_utilization: ShareOfPeak
    held: Part
    reserved: SizeOrZero
    kv_reserve: Literal["paged", "full"]
    watermark: Part
    request: Time
    turnaround: Time
    stagger: Time
    requests: Count


class RuntimeForm(Form):
    """A serving engine or library; `hardware.runtime.Runtime` says what each number is."""

    title: Text
    name: Text | None = None
    source: Text
    runs_on: Literal["cpu", "gpu"] | None = None
    """Kind of processors that it was fitted on."""
    fitted: FittedForm
    host_step: Time | None = None
    host_sequence: Time | None = None
    launch: Time | None = None
    memory: ShareOfPeak | None = None
    compute: ShareOfPeak | None = None
    attention: ShareOfPeak | None = None
    slot: Bandwidth | None = None
    fill: Time | None = None
    habits: HabitsForm | None = None


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
        habits=None if form.habits is None else _habits(form.habits),
        runs_on=form.runs_on,
        fitted_on=form.fitted.on,
    )


def _habits(form: HabitsForm) -> Habits:
    return Habits(
        kind=form.kind,
        token_budget=form.token_budget,
        max_batch=form.max_batch,
        utilization=form.memory_utilization.value,
        held=form.held.value,
        reserved_B=form.reserved.value,
        kv_reserve=form.kv_reserve,
        watermark=form.watermark.value,
        request_s=form.request.value,
        turnaround_s=form.turnaround.value,
        stagger_s=form.stagger.value,
        requests=form.requests,
    )


def load_runtime(name_or_path: str, base: Path | None = None, *, without: str = "") -> Runtime:
    """The runtime of a name or a path; `without` as in `fitted_form`."""
    stem, form, _ = fitted_form("runtimes", RuntimeForm, name_or_path, base, without=without)
    return to_runtime(form, stem)


def runtime_numbers(name: str, document: Document) -> Mapping[str, Sourced]:
    """What a run takes of a runtime's document, by key, each number with its source."""
    form = validated(RuntimeForm, document)
    readings = {key: getattr(form, key) for key in type(form).model_fields}
    return {
        key: Sourced(value=reading.value, text=reading.text, unit=reading.unit, source=form.source)
        for key, reading in readings.items()
        if isinstance(reading, Reading)
    }
