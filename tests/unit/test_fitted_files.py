"""Are fitted files read as they are written, with the constants that haven't seen a part?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sim.config import library
from sim.config.document import parse_document, read_document
from sim.config.fitted import load_kernels, load_law, load_protocols, load_runtime
from sim.config.yaml_writer import WIDTH, difference, yaml_text
from sim.errors import ConfigError
from sim.evidence.calibration.documents import (
    fitted_text,
    kernels_numbers,
    power_numbers,
    protocols_numbers,
    runtime_numbers,
)

CONSTANTS = ("kernels", "protocols", "power", "runtimes")


def numbers_of(kind: str, name: str, without: str = "") -> Mapping[str, Any]:
    """What a file says of an entry, from the values that it is read into."""
    if kind == "kernels":
        return kernels_numbers(load_kernels(name, without=without))
    if kind == "protocols":
        return protocols_numbers(load_protocols(name, without=without))
    if kind == "power":
        return power_numbers(load_law(name, without=without))
    return runtime_numbers(name, load_runtime(name, without=without))


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in CONSTANTS for name in library.files(kind)]
)
def test_what_is_read_is_written_again(kind: str, name: str) -> None:
    path = library.files(kind)[name]
    data = read_document(path).data
    fitted = data["fitted"]
    errors = {
        key: float(text.removesuffix(" %")) / 100.0
        for key, text in fitted.get("median_error", {}).items()
    }
    held_out = {part: numbers_of(kind, name, part) for part in data.get("held_out", ())}
    text = fitted_text(
        kind,
        name,
        numbers_of(kind, name),
        fitted_on=fitted["on"],
        date=fitted["date"],
        errors=errors,
        held_out=held_out,
    )
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", library.files("errors"))
def test_residuals_are_laid_out_as_they_are_written(name: str) -> None:
    path = library.files("errors")[name]
    text = path.read_text(encoding="utf-8")
    comment = text.splitlines()[0].removeprefix("# ")
    assert yaml_text(read_document(path).data, comment) == text


def test_constants_held_out_differ_only_in_what_their_section_says() -> None:
    whole, part = load_kernels("nvidia-ada"), load_kernels("nvidia-ada", without="devices")
    assert whole.fitted_on
    assert part.fitted_on == ()
    assert part.name == whole.name
    assert whole.scale == {}
    assert part.scale["clock_Hz"] == 1.98e9
    assert "cached" in whole.vector
    assert "cached" not in part.vector
    assert part.decode["pack"] == whole.decode["pack"]
    assert load_kernels("nvidia-ada", without="models-0") == whole


def test_a_section_that_is_no_mapping_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("title: t\nsource: s\nfitted: {date: d, on: []}\nheld_out: [models-0]\n")
    with pytest.raises(ConfigError, match="a mapping of parts") as raised:
        load_runtime(str(path))
    assert raised.value.problems[0].line == 4
    path.write_text("title: t\nsource: s\nfitted: {date: d, on: []}\nheld_out:\n  a: {memory: 2}\n")
    assert load_runtime(str(path)).memory is None
    with pytest.raises(ConfigError) as raised:
        load_runtime(str(path), without="a")
    assert (raised.value.problems[0].path, raised.value.problems[0].line) == ("memory", 5)


def test_text_is_quoted_where_yaml_would_read_something_else() -> None:
    data = {
        "title": "a: b",
        "list": ["x, y", "z"],
        "none": None,
        "top": {"one": 1, "two": "# no comment"},
        "empty": {},
        "deep": {"short": {"a": 1}, "long": {f"key-{index}": index for index in range(40)}},
        "deeper": {"x": {"long": {f"key-{index}": index for index in range(40)}, "y": [1, 2]}},
    }
    text = yaml_text(data, "about\nthis")
    assert text.startswith("# about\n# this\ntitle: ")
    assert parse_document(text, "x.yaml").data == data
    assert max(map(len, text.splitlines())) <= WIDTH


def test_a_difference_makes_the_other_of_the_base() -> None:
    base = {"a": {"b": 1, "c": 2}, "d": 3, "e": 4}
    other = {"a": {"b": 1, "c": 5}, "e": 4, "f": {"g": 6}}
    assert difference(base, other) == {"a": {"c": 5}, "d": None, "f": {"g": 6}}
    assert difference(base, base) == {}
