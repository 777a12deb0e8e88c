"""What a device gets from the technologies of its memories: energy, price, stacks, and levels."""

from __future__ import annotations

from collections.abc import Mapping

from sim.config.device_form import DeviceForm, DeviceMemoryForm, ProcessorForm
from sim.config.document import Document
from sim.config.fields import Reading, unknown_name
from sim.config.memory_form import HOST, MemoryKind
from sim.config.sources import value
from sim.errors import Problem


def with_technologies(form: DeviceForm, kinds: Mapping[str, MemoryKind]) -> DeviceForm:
    """`form` with energy, price and carbon of each memory from its technology, where left out."""
    changed: dict[str, DeviceMemoryForm] = {}
    for name, kind in kinds.items():
        memory, energy = form.memories[name], kind.energy
        changed[name] = memory.model_copy(
            update={
                "energy": memory.energy
                or Reading(
                    value=energy.value or 0.0, text=energy.text, unit=energy.unit,
                    key=energy.source,
                ),
                "price": memory.price or kind.price,
                "carbon": memory.carbon or kind.carbon,
            }
        )  # fmt: skip
    return form.model_copy(update={"memories": {**form.memories, **changed}})


def stacks_of(form: DeviceForm, kinds: Mapping[str, MemoryKind]) -> dict[str, int]:
    """Stacks of each memory that is stacked."""
    return {
        name: max(round(value(form.memories[name].capacity, 0.0) / kind.stack_B), 1)
        for name, kind in kinds.items()
        if kind.stack_B is not None
    }


def at_levels(
    form: DeviceForm, document: Document, kinds: Mapping[str, MemoryKind]
) -> tuple[DeviceForm, list[Problem]]:
    """`form` with what the levels of its processors give them, and what is wrong with levels.

    `kinds` has the technology of each memory that has one. A number that the device states itself
    stands.
    """
    problems: list[Problem] = []
    changed: dict[str, ProcessorForm] = {}
    for name, processor in form.processors.items():
        memory = form.memories.get(processor.memory.weights)
        if processor.level is None or memory is None:
            continue
        if memory.technology is None:
            message = "needs a memory with a `technology` that has levels"
            problems.append(document.problem(("processors", name, "level"), message))
            continue
        kind = kinds.get(processor.memory.weights)
        if kind is None:
            continue  # what is wrong with it is said elsewhere
        levels = {} if kind.technology is None else kind.technology.levels
        if processor.level not in levels:
            message = f"{kind.name}: {unknown_name(processor.level, list(levels) or ['none'])}"
            problems.append(document.problem(("processors", name, "level"), message))
            continue
        changed[name] = _at_level(processor, kind, processor.level)
    return form.model_copy(update={"processors": {**form.processors, **changed}}), problems


def _at_level(processor: ProcessorForm, kind: MemoryKind, name: str) -> ProcessorForm:
    technology = kind.technology
    assert technology is not None
    level = technology.levels[name]
    where = f"level {name} of {kind.name}"

    def derived(
        value: float, shown: str, unit: str = "", source: str = kind.timing_source
    ) -> Reading:
        return Reading(value=value, text=f"{shown}: {where}", unit=unit, key=source)

    scale = technology.peak_B_per_s(level) / technology.peak_B_per_s(technology.levels[HOST])
    bundles = technology.organisation.banks_per_channel / level.banks
    share = technology.sustained_share(level)
    joules = technology.energy_J_per_B(level)
    efficiency = processor.efficiency
    if efficiency.memory is None:
        shown = derived(share, f"{share:.3f}")
        efficiency = efficiency.model_copy(update={"memory": shown})
    return processor.model_copy(
        update={
            "efficiency": efficiency,
            "bandwidth_scale": processor.bandwidth_scale or derived(scale, f"{scale:.4g}"),
            "bundles": processor.bundles or derived(bundles, f"{bundles:g}"),
            "memory_energy": processor.memory_energy
            or derived(joules, f"{joules / 8e-12:.4g} pJ/bit", "J/B", kind.read_sources[name]),
        }
    )
