"""Is YAML read strictly, with the place of everything, and is what it must not have refused?"""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from sim.config.document import MAX_DEPTH, parse_document, read_document
from sim.errors import ConfigError, Problem


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        parse_document(text, "some.yaml")
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"), ("on", "on"), ("yes", "yes"), ("0123", "0123"), ("12:30", "12:30"),
        ("12:30:45", "12:30:45"), ("2026-01-01", "2026-01-01"), ("1_000", "1_000"), ("=", "="),
        ("80e9", 80e9), ("1e9", 1e9), ("1.0e9", 1e9), ("6e-12", 6e-12), (".5", 0.5), ("-2.", -2.0),
        ("7", 7), ("-7", -7), ("+7", 7), ("0x1F", 31), ("0o17", 15), ("true", True),
        ("False", False), ("null", None), ("~", None), ("", None), (".inf", math.inf),
        ("-.INF", -math.inf), ("'7'", "7"), ('"true"', "true"), ("|\n  7", "7"),
        ("3.35 TB/s", "3.35 TB/s"), ("80 GiB [key]", "80 GiB [key]"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = parse_document(f"key: {text}", "some.yaml").data["key"]
    assert found == value
    assert type(found) is type(value)


def test_every_value_knows_its_place() -> None:
    document = parse_document("a: 1\nb:\n  c: [x, {d: 2}]\n", "some.yaml")
    places = {
        (): (1, 1), ("a",): (1, 1), ("b",): (2, 1), ("b", "c"): (3, 3), ("b", "c", 0): (3, 7),
        ("b", "c", 1, "d"): (3, 11),
    }  # fmt: skip
    for path, (line, column) in places.items():
        if path:
            place = document.place(path)
            assert (place.file, place.line, place.column) == ("some.yaml", line, column), path
    assert document.place(("b", "absent")).line == 2


def test_sources_around_a_value_are_remembered() -> None:
    text = "source: outer\na: 1\nb: {source: inner, c: 2}\nd: {e: [3]}\n"
    document = parse_document(text, "some.yaml")
    assert document.place(("a",)).source == "outer"
    assert document.place(("b", "c")).source == "inner"
    assert document.place(("d", "e", 0)).source == "outer"


def test_duplicate_keys_are_named_with_both_lines() -> None:
    found = problems("a: 1\nb: 2\na: 3\nc:\n  d: 1\n  d: 2\n")
    assert [(each.line, each.message) for each in found] == [
        (3, "duplicate key 'a', first on line 1: keep one"),
        (6, "duplicate key 'd', first on line 5: keep one"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: 1\nb: !!python/object/apply:os.system ['true']\n", 2, "tags are not allowed"),
        ("a: !custom 1\n", 1, "tags are not allowed"),
        ("? !!python/name:os.system x\n: 1\n", 1, "tags are not allowed"),
        ("a: 1\n---\nb: 2\n", 2, "a second document"),
        ("a:\n\tb: 1\n", 2, "indent with spaces, not tabs"),
        ("a: [1, 2\nb: 3\n", 2, "is not YAML"),
        ("a: 'open\n", 2, "is not YAML"),
        ("a: 1\n  b: 2\n", 2, "is not YAML"),
        ("base: &x {a: 1}\nuse: *x\n", 2, "write the value out"),
        ("use: *x\n", 1, "alias *x"),
        ("a:\n  <<: {b: 1}\n", 2, "use `extends`"),
        ("? [a, b]\n: 1\n", 1, "a key is text"),
        ("a: 1\nb: \x00\n", 2, "is not YAML"),
        ('a: "\\ud800"\n', 1, "is not YAML"),
    ],
)
def test_what_is_not_plain_yaml_is_refused_at_its_line(text: str, line: int, said: str) -> None:
    found = problems(text)
    assert any(said in each.message for each in found), found
    assert found[0].line == line
    assert found[0].file == "some.yaml"


def test_aliases_that_multiply_are_refused_without_being_expanded() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 20):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]")
    assert all("alias" in each.message for each in problems("\n".join(lines)))


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_deep_nesting_is_one_error(opening: str) -> None:
    (found,) = problems(opening * 100_000)
    assert f"more than {MAX_DEPTH} deep" in found.message
    assert found.line == 1


def test_nesting_up_to_the_limit_is_fine() -> None:
    text = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert parse_document(text, "some.yaml").data is not None
    assert problems(f"[{text}]")


def test_surrogates_of_an_argument_are_a_clear_error() -> None:
    (found,) = problems("a: \udcff")
    assert "surrogates" in found.message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: \xff\xfe\n", "not a text file (UTF-8)"),
        (b"\x80\x03binary", "not a text file (UTF-8)"),
        (b"title: \x01\n", "is not YAML"),
    ],
)
def test_binary_files_are_a_clear_error(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"binary\.yaml") as caught:
        read_document(path)
    assert said in str(caught.value)


def test_a_byte_order_mark_is_not_content(tmp_path: Path) -> None:
    path = tmp_path / "marked.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_document(path).data == {"a": 1}


def test_missing_files_name_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "device.yaml").write_text("a: 1\n")
    with pytest.raises(ConfigError, match=r"did you mean '.*device\.yaml'"):
        read_document(tmp_path / "devise.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_document(tmp_path)
