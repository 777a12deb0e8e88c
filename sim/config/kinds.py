"""Kinds of library file, one row each: a kind is added here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

HARDWARE: Final = "hw_configs"
FITTED: Final = "hw_configs/fitted"
WORKLOADS: Final = "workloads"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of library file; forms are named by module: they stand above it or apart."""

    name: str
    top: str = HARDWARE
    """Folder of the checkout, or of the package, that has this kind's folder."""
    single: str = ""
    """One of them, as an error calls it; empty: the name without its s."""
    form: str = ""
    """`module:class` of what its files are read into."""
    marks: tuple[str, ...] = ()
    """Top-level keys that files of no other kind have; none: the folder alone tells the kind."""
    bases: tuple[str, ...] = ()
    """Kinds that `extends` of a file looks in; empty: its own."""
    aliases: bool = False
    """Whether its files list other names of themselves."""
    counts: str = ""
    """Kind of which NAME and NAME-xN stand for N, under the key `device`."""
    value: str = ""
    """`module:function` that makes the value of a name and its document."""
    numbers: str = ""
    """`module:function` that gives the sourced numbers of a name and its document."""
    schema: str = ""
    """Name of its JSON Schema; empty: none is printed."""
    shown: bool = True
    """Whether `sim list` and `sim show` have it."""

    @property
    def noun(self) -> str:
        """One of them, as an error calls it."""
        return self.single or self.name.removesuffix("s")

    def load_form(self) -> Any:
        """The form that its files have."""
        return _imported(self.form)

    def load(self, name: str, document: Any) -> Any:
        """The value that a document of this kind describes."""
        return _imported(self.value)(name, document)

    def load_numbers(self, name: str, document: Any) -> Mapping[str, Any]:
        """The sourced numbers of a document by dotted path; empty for kinds without any."""
        numbers: Mapping[str, Any] = _imported(self.numbers)(name, document) if self.numbers else {}
        return numbers


def _imported(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(f"sim.{module}"), name)


_TABLE: Final = (
    Kind(
        name="devices", form="hardware.device:Device", marks=("processors",),
        bases=("families", "devices"), aliases=True, value="config.catalogue:device_of",
        numbers="config.catalogue:device_numbers", schema="device",
    ),
    Kind(
        name="systems", form="hardware.device:System", marks=("device", "count"), counts="devices",
        value="config.catalogue:system_of", numbers="config.catalogue:system_numbers",
        schema="system",
    ),
    Kind(name="models", top=WORKLOADS, form="config.model_form:ModelForm", marks=("vocabulary",),
         value="config.catalogue:model_of", schema="model"),
    Kind(name="scenarios", top=WORKLOADS, form="config.scenario_form:ScenarioForm",
         marks=("traffic",), schema="scenario"),
    Kind(name="traffic", top=WORKLOADS, single="trace", form="config.traces:TrafficFileForm",
         marks=("trace",), schema="traffic"),
    Kind(name="memories", form="hardware.dram:MemoryKind", marks=("organisation", "energy"),
         single="memory", schema="memory"),
    Kind(name="processes", single="process", form="economics.process:Process"),
    Kind(name="sites", form="economics.ownership:Site", value="config.costs:site_of"),
    Kind(name="costs", form="economics.practice:Practice", value="config.costs:practice_of"),
    Kind(name="studies", top=WORKLOADS, single="study", form="config.study_form:StudyForm",
         marks=("axes",), schema="study"),
    Kind(name="runtimes", top=FITTED, form="hardware.runtime:Runtime", marks=("fitted",),
         value="config.fitted:runtime_of", numbers="config.fitted:runtime_numbers"),
    Kind(name="hosts", form="config.hosts:HostFile"),
    Kind(name="kernels", top=FITTED, single="kernels", form="hardware.kernels:Kernels"),
    Kind(name="protocols", top=FITTED, form="hardware.kernels:Protocols"),
    Kind(name="power", top=FITTED, single="power law", form="hardware.power:PowerLaw"),
    Kind(name="errors", top=FITTED, single="table of errors", form="hardware.residuals:Generation"),
    Kind(name="families", single="family", form="hardware.device:Device"),
    Kind(name="papers", form="config.inputs:InputsForm", shown=False),
)  # fmt: skip
KINDS: Final[Mapping[str, Kind]] = {kind.name: kind for kind in _TABLE}
SHOWN: Final = (*(kind.name for kind in _TABLE if kind.shown), "techniques")
"""Kinds of `sim list` and `sim show`."""
