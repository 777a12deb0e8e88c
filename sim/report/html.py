"""HTML: the report of a study as one file that needs no network."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from pathlib import Path
from typing import Any, Final

from sim.report.page_data import page_data
from sim.studies.sweep.results import Results

PAGE: Final = Path(__file__).with_name("page")
SCRIPTS: Final = ("data", "scatter", "filters", "table", "point", "effects", "main")
"""Parts of the page's one script, in order."""


def write_page(results: Results, path: Path) -> int:
    """Write the report of `results` to `path`; returns its size in bytes."""
    page = study_page(results).encode("utf-8")
    path.write_bytes(page)
    return len(page)


def study_page(results: Results) -> str:
    """The page; equal results give equal text.

    Nothing of the study is ever markup: it goes in as JSON and the script shows it as text. The
    policy allows this very script and style and no request to anywhere.
    """
    data = page_data(results)
    style = (PAGE / "report.css").read_text(encoding="utf-8")
    script = "\n".join((PAGE / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    script = f'(() => {{\n"use strict";\n{script}\n}})();\n'
    parts = {
        "TITLE": html.escape(str(data["title"])),
        "POLICY": f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'",
        "STYLE": style,
        "SCRIPT": script,
        "DATA": _json(data),
    }
    template = (PAGE / "report.html").read_text(encoding="utf-8")
    pieces = template.split("%%")  # text, name, text, name, ..., text
    return "".join(parts[piece] if odd % 2 else piece for odd, piece in enumerate(pieces))


def _hash(text: str) -> str:
    """A content-security-policy source that allows exactly `text`."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _json(data: Any) -> str:
    """`data` as JSON that cannot end the script element it stands in."""
    text = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
