"""Does mutated YAML ever give anything but a value, a ConfigError or an Infeasible?"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim.config import library
from sim.config.catalogue import load_device, load_system
from sim.config.document import parse_document, read_text
from sim.config.scenarios import load_scenario
from sim.config.show import resolved
from sim.errors import ConfigError, Infeasible

SHARED_FOLDER = [HealthCheck.function_scoped_fixture]

TEXTS = {
    "devices": ["wse-3", "duplex", "phone-snapdragon-8-gen-3", "cortex-m-ethos-u55", "hnlpu"],
    "systems": ["h100-x16", "duplex-x4"],
    "scenarios": ["mixtral-azure-duplex", "llama-3b-phone", "encoder-ethos-u55"],
}
WORDS = [
    "", "null", "~", "true", "NO", "-1", "0", "80e9", "1e400", ".nan", "-.inf", "9" * 400,
    "0x" + "f" * 300, "3.35 TB", "80 GiB [nobody]", "80 Gb", "[]", "{}", "[[]]", "{a: {b: [c]}}",
    "!!python/object:os.system x", "&a [*a]", "*a", "'", '"', "|\n", "- ", "? ", "<<: *a", "\t",
    "\x00", "\ud7ff", "\N{MICRO SIGN}s", "extends: wse-3", "source: [1]", "sources: {a: 1}",
    "sources: {a: {kind: paper, title: t}}", "trace: ../..", "../nowhere.yaml", "~nobody/x.yaml",
    "a" * 1000, "h100-x" + "9" * 50, "inf GB", "512", "closed: {concurrency: 1, requests: 1}",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, kind: str) -> str:
    """The text of a shipped file with some lines and tokens cut, doubled, moved or replaced."""
    name = draw(st.sampled_from(TEXTS[kind]))
    text = read_text(library.files(kind)[name])
    for _ in range(draw(st.integers(1, 4))):
        lines = text.split("\n")
        at = draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        match draw(st.sampled_from(["cut", "double", "swap", "indent", "value", "token", "chars"])):
            case "cut":
                del lines[at]
            case "double":
                lines.insert(at, line)
            case "swap":
                other = draw(st.integers(0, len(lines) - 1))
                lines[at], lines[other] = lines[other], line
            case "indent":
                lines[at] = " " * draw(st.integers(0, 8)) + line.strip()
            case "value":
                lines[at] = line.split(":")[0] + ": " + draw(st.sampled_from(WORDS))
            case "token":
                tokens = line.split(" ")
                tokens[draw(st.integers(0, len(tokens) - 1))] = draw(st.sampled_from(WORDS))
                lines[at] = " ".join(tokens)
            case "chars":
                start = draw(st.integers(0, len(line)))
                end = draw(st.integers(start, min(len(line), start + 4)))
                lines[at] = line[:start] + draw(st.text(max_size=4)) + line[end:]
        text = "\n".join(lines) or "a"
    return text


def outcome(load: object, *arguments: object, **options: object) -> str:
    """How a load ends; anything but a value or our two errors goes through and fails the test."""
    assert callable(load)
    try:
        load(*arguments, **options)
    except ConfigError as error:
        assert_clear(error)
        return "wrong"
    except Infeasible as error:
        return f"infeasible: {error.reason}"
    return "loaded"


def assert_clear(error: ConfigError) -> None:
    assert error.problems
    for problem in error.problems:
        assert problem.message.strip()
        assert len(problem.message) < 3000
        assert "Traceback" not in problem.message
        assert "pydantic" not in problem.message.lower()


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


@settings(max_examples=300, suppress_health_check=SHARED_FOLDER)
@given(mutated("devices"))
def test_devices(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "device.yaml", text)
    if outcome(load_device, path) == "loaded":
        assert outcome(resolved, "devices", str(path)) == "loaded"
        assert outcome(load_system, {"device": str(path), "count": 2}) == "loaded"


@settings(max_examples=150, suppress_health_check=SHARED_FOLDER)
@given(mutated("systems"))
def test_systems(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "system.yaml", text)
    if outcome(load_system, path) == "loaded":
        assert outcome(resolved, "systems", str(path)) == "loaded"


@settings(max_examples=300, suppress_health_check=SHARED_FOLDER)
@given(mutated("scenarios"))
def test_scenarios(tmp_path: Path, text: str) -> None:
    outcome(load_scenario, write(tmp_path / "scenario.yaml", text))


PARTS = st.sampled_from(
    [
        "system", "device", "memories", "hbm", "bandwidth", "count", "model", "layers", "attention",
        "experts", "traffic", "trace", "closed", "input", "techniques", "0", "1", "keep", "kind",
        "scheduler", "max_batch", "placement", "fc", "seed", "slo", "ttft", "processors", "xpu",
        "sources", "source", "name", "extends", "x", "",
    ]
)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(st.tuples(st.lists(PARTS, max_size=5), st.sampled_from(WORDS)), max_size=3))
def test_changes(changes: list[tuple[list[str], str]]) -> None:
    sets = [f"{'.'.join(parts)}={value}" for parts, value in changes]
    outcome(load_scenario, "mixtral-azure-duplex", sets=sets)


@settings(max_examples=200)
@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    outcome(parse_document, text, "some.yaml")
    outcome(load_scenario, "mixtral-azure-duplex", sets=[text])
    outcome(load_device, text)


SCENARIO_KEYS = st.sampled_from(
    ["model", "system", "traffic", "dtype", "router", "slo", "techniques", "placement", "extends"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["model", "system", "traffic", "trace", "device", "processors", "memories", "title",
                 "extends", "source", "sources", "closed", "techniques", "kind", "parallel"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300)
@given(st.dictionaries(SCENARIO_KEYS, VALUES))
def test_any_mapping(data: dict[str, object]) -> None:
    plain = {"model": "llama-3.1-8b", "system": "h100-x1", "traffic": {"trace": "azure-like-2k"}}
    outcome(load_scenario, {**plain, **data})
    system = data.get("system")
    if isinstance(system, dict):
        outcome(load_system, system)
        outcome(load_device, system)


def test_the_shipped_files_are_the_ones_meant() -> None:
    for kind, known in TEXTS.items():
        assert set(known) <= set(library.files(kind))


@pytest.mark.parametrize("kind", sorted(TEXTS))
def test_unchanged_files_load(kind: str, tmp_path: Path) -> None:
    load = {"devices": load_device, "systems": load_system, "scenarios": load_scenario}[kind]
    for name in TEXTS[kind]:
        text = read_text(library.files(kind)[name])
        assert outcome(load, write(tmp_path / f"{name}.yaml", text)) == "loaded"
