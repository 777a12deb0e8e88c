"""Form of power laws: constants of a family fitted to measured power, in files of their own."""

from __future__ import annotations

from pathlib import Path

from sim.config.fields import ByteEnergy, Factor, FlopEnergy, Form, Power, ShareOfPeak, Text
from sim.config.fitted_files import fitted_form
from sim.config.kernels_form import FittedForm
from sim.hardware.power import PowerLaw


class PowerLawForm(Form):
    """Power of a family of devices; `hardware.power.PowerLaw` says what each number is."""

    title: Text
    name: Text | None = None
    source: Text
    fitted: FittedForm
    static_per_mm2: Power
    static_share: ShareOfPeak
    flop: FlopEnergy
    narrow: ShareOfPeak
    path: ByteEnergy
    kv_path: ByteEnergy
    processes: dict[str, Factor]
    """Energy of an operation on a process, over that of `flop`."""


def to_law(form: PowerLawForm, name: str) -> PowerLaw:
    """The law of a form."""
    return PowerLaw(
        name=form.name or name,
        static_W_per_mm2=form.static_per_mm2.value,
        static_share=form.static_share.value,
        flop_J=form.flop.value,
        narrow=form.narrow.value,
        path_J_per_B=form.path.value,
        kv_path_J_per_B=form.kv_path.value,
        processes=tuple((key, each.value) for key, each in form.processes.items()),
        fitted_on=form.fitted.on,
    )


def law_form(name: str, base: Path, *, without: str = "") -> tuple[str, PowerLawForm]:
    """Name and form of a power law, by name or path."""
    stem, form, _ = fitted_form("power", PowerLawForm, name, base, without=without)
    return stem, form


def load_law(name: str, base: Path | None = None, *, without: str = "") -> PowerLaw:
    """The power law of a name or a path; `without` as in `fitted_form`."""
    stem, form = law_form(name, base or Path(), without=without)
    return to_law(form, stem)
