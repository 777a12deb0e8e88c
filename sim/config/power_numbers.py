"""What a device gets from its power law: static power, and the energies of its GPUs."""

from __future__ import annotations

from sim.config.device_form import DeviceForm, ProcessorForm
from sim.config.document import Document
from sim.config.fields import Reading
from sim.config.sources import value
from sim.errors import Problem
from sim.hardware.power import PowerLaw


def with_law(
    form: DeviceForm, document: Document, law: PowerLaw, source: str
) -> tuple[DeviceForm, list[Problem]]:
    """`form` with static power and its GPUs' energies by `law` where left out; and what is wrong.

    Numbers come with the source `source` and with how they were made as text.
    """
    problems: list[Problem] = []
    power = form.power
    area, tdp = value(form.die.area), value(power.tdp)
    static = law.static_W(area, tdp)
    if power.static is None and static is not None:
        by_area = area is not None and static == law.static_W(area, None)
        of = f"by {area:g} mm2" if by_area else f"{law.static_share:g} of {tdp:g} W"
        power = power.model_copy(
            update={
                "static": Reading(value=static, text=f"{static:.4g} W: {of}", unit="W", key=source)
            }
        )
    processors = dict(form.processors)
    for name, processor in form.processors.items():
        if processor.kind != "gpu":
            continue
        scale = law.scale(form.die.process)
        stated = processor.energy.fp16 or processor.peak.fp16 is None
        if scale is None and not stated:
            known = ", ".join(each for each, _ in law.processes)
            problems.append(
                document.problem(
                    ("processors", name, "energy", "fp16"),
                    f"is missing, and the power law {law.name} doesn't know the process "
                    f"'{form.die.process}' ({known}): state the energy of a flop",
                )
            )
            continue
        processors[name] = _with_energies(processor, law, scale or 1.0, source)
    return form.model_copy(update={"power": power, "processors": processors}), problems


def _with_energies(
    processor: ProcessorForm, law: PowerLaw, scale: float, source: str
) -> ProcessorForm:
    def flop(share: float, more: str) -> Reading:
        joules = law.flop_J * scale * share
        text = f"{joules * 1e12:.3g} pJ/flop: {law.flop_J * 1e12:.3g} x {scale:g}{more}"
        return Reading(value=joules, text=text, unit="J/flop", key=source)

    def path(joules: float) -> Reading:
        return Reading(value=joules, text=f"{joules * 1e12:.4g} pJ/B", unit="J/B", key=source)

    energy = processor.energy
    given: dict[str, Reading] = {}
    for name, share in (("fp16", 1.0), ("fp8", law.narrow), ("int8", law.narrow)):
        if getattr(processor.peak, name) is not None:  # else wider units do it, at their energy
            more = "" if share == 1.0 else f" x {share:.3g}"
            given[name] = getattr(energy, name) or flop(share, more)
    return processor.model_copy(
        update={
            "energy": energy.model_copy(update=given),
            "path_energy": processor.path_energy or path(law.path_J_per_B),
            "kv_path_energy": processor.kv_path_energy or path(law.kv_path_J_per_B),
        }
    )
