"""The command line as a user meets it: exit codes, one clear error each, JSON and nothing else."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sim.cli import COMMANDS, main
from sim.config import library
from sim.config.kinds import KINDS, SHOWN

SHORT = ["--set", "traffic.limit=20"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one command."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    out, err = capsys.readouterr()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code, out, err


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom sim.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'numba', 'pandas', 'pydantic', 'yaml', 'simpy', 'rich'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout
    for name in COMMANDS:
        assert f"  {name}" in done.stdout


def test_lists_and_lookups_do_not_load_numba() -> None:
    code = (
        "import sys\nfrom sim.cli import main\n"
        "for line in (['list', 'devices'], ['show', 'llama-3.1-8b', '--json']):\n"
        "    try:\n        main(line)\n    except SystemExit:\n        pass\n"
        "print('NUMBA', 'numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("NUMBA False\n")


def test_run_json_has_every_key_of_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "run", "mixtral-azure-duplex", "--json", *SHORT)
    assert code == 0
    result = json.loads(out)
    assert set(result) >= {
        "scenario", "model", "system", "seed", "requests", "metrics", "breakdown", "bound",
        "memory", "provenance",
    }  # fmt: skip
    assert result["requests"]["arrived"] == 20
    for name in ("ttft_s", "tbt_s", "tpot_s", "e2e_s"):
        assert set(result["metrics"][name]) == {"mean", "p50", "p90", "p99", "max"}
    dear = result["cost"]["usd_per_Mtok"]
    assert dear is None or dear["low"] <= result["metrics"]["cost_usd_per_Mtok"] <= dear["high"]
    assert sum(result["bound"].values()) == pytest.approx(1.0)
    provenance = result["provenance"]
    assert provenance["digest"]
    assert {"duplex-paper", "duplex-simulator"} <= {each["key"] for each in provenance["sources"]}
    busy = result["breakdown"]["busy_s"]
    assert sum(result["breakdown"]["time_s"]["by_class"].values()) == pytest.approx(busy)


def test_the_same_command_twice_gives_equal_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    first = run(capsys, "run", "llama-8b-azure-h100", "--json", *SHORT)
    assert first == run(capsys, "run", "llama-8b-azure-h100", "--json", *SHORT)


def test_run_writes_files_that_agree_with_its_json(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    code, out, _ = run(capsys, "run", "llama-8b-azure-h100", "--json", "-o", str(folder), *SHORT)
    assert code == 0
    assert json.loads((folder / "result.json").read_text(encoding="utf-8")) == json.loads(out)
    with (folder / "requests.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    ttft = [float(row["ttft_s"]) for row in rows if row["status"] == "completed"]
    assert max(ttft) == json.loads(out)["metrics"]["ttft_s"]["max"]


def test_run_prints_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "run", "mixtral-azure-duplex", *SHORT)
    assert code == 0
    for words in ("TTFT", "Throughput", "Which unit ran what", "logic-pim", "Constants by source"):
        assert words in out


def test_compare_puts_systems_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    systems = ["--system", "h100-x4", "--system", "duplex-x4"]
    code, out, _ = run(capsys, "compare", "mixtral-azure-duplex", *systems, "--json", *SHORT)
    assert code == 0
    runs = json.loads(out)["runs"]
    assert [each["system"] for each in runs] == ["h100-x4", "duplex-x4"]
    assert runs[1]["metrics"]["tpot_s"]["p50"] < runs[0]["metrics"]["tpot_s"]["p50"]
    code, out, _ = run(capsys, "compare", "mixtral-azure-duplex", *systems, *SHORT)
    assert code == 0
    assert "h100-x4" in out
    assert "faster than xpu" in out


def test_explain_adds_up(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "explain", "mixtral-azure-duplex", "--json", *SHORT)
    assert code == 0
    found = json.loads(out)
    total = sum(row["time_s"] for row in found["operators"]) + found["host_s"]
    assert total == pytest.approx(found["iteration_s"])
    experts = next(row for row in found["operators"] if row["operator"] == "experts_up")
    assert experts["unit"] == min(experts["unit_s"], key=experts["unit_s"].get)
    assert "faster than" in experts["why"]
    code, out, _ = run(capsys, "explain", "mixtral-azure-duplex", "--phase", "prefill", *SHORT)
    assert code == 0
    assert "attention_prefill" in out


def test_explain_takes_batch_and_context(capsys: pytest.CaptureFixture[str]) -> None:
    line = ["explain", "llama-8b-azure-h100", "--json", *SHORT]
    small = json.loads(run(capsys, *line, "--batch", "1", "--context", "100")[1])
    large = json.loads(run(capsys, *line, "--batch", "64", "--context", "4000")[1])
    assert small["batch"] == {"sequences": 1, "context": 100, "tokens": 1}
    assert large["iteration_s"] > small["iteration_s"]
    code, _, err = run(capsys, *line, "--batch", "0")
    assert code == 2
    assert "at least 1" in err


@pytest.mark.parametrize(
    "kind", ["devices", "systems", "models", "techniques", "scenarios", "traffic", "schedulers"]
)
def test_list_names_everything(capsys: pytest.CaptureFixture[str], kind: str) -> None:
    code, out, _ = run(capsys, "list", kind, "--json")
    assert code == 0
    entries = json.loads(out)
    assert entries
    assert all(entry["name"] and entry["title"] for entry in entries)
    code, out, _ = run(capsys, "list", kind)
    assert code == 0
    assert entries[0]["name"][:12] in out


def test_list_schedulers_has_all_that_scenarios_take(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(run(capsys, "list", "schedulers", "--json")[1])
    listed = {(each["key"], each["name"]) for each in found}
    schema = json.loads(run(capsys, "schema")[1])["scenario"]
    definitions = schema["$defs"]
    for form, keys in (
        ("Scheduler", ("kind", "order", "group_rule", "kv_reserve")),
        ("FleetForm", ("route",)),
    ):
        for key in keys:
            own = f"{form.removesuffix('Form').lower()}.{key}"
            names = definitions[form]["properties"][key]["enum"]
            assert {name for path, name in listed if path == own} == set(names)
            assert [each["default"] for each in found if each["key"] == own].count(True) == 1


def test_an_unknown_kind_says_where_they_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    for line, near in (
        ("scheduler.kind=chunked", "chunked-prefill"),
        ("scheduler.order=priorty", "priority"),
        ("fleet={replicas: 2, route: least-load}", "least-loaded"),
    ):
        code, _, err = run(capsys, "run", "llama-8b-azure-h100", "--set", line)
        assert code == 2
        assert err.count("error:") == 1
        assert f"did you mean '{near}'?" in err
        assert "(`sim list schedulers`)" in err


@pytest.mark.parametrize(
    "name", ["h100-sxm", "duplex-x4", "mixtral-8x7b", "mixtral-azure-duplex", "azure-like-2k"]
)
def test_show_resolves_any_kind_of_name(capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, out, _ = run(capsys, "show", name, "--json")
    assert code == 0
    assert json.loads(out)
    code, out, _ = run(capsys, "show", name)
    assert code == 0
    assert out.strip()


def test_show_model_has_the_keys_of_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    about = json.loads(run(capsys, "show", "llama-3.1-8b", "--json")[1])
    assert about["parameters"] == pytest.approx(8.03e9, rel=5e-3)
    assert about["active_parameters_per_token"] == about["parameters"]
    assert about["kv_bytes_per_token"] == 2 * 32 * 8 * 128 * 2
    assert about["weight_bytes"] == 2 * about["parameters"]
    assert about["state_bytes_per_sequence"] == 0
    assert about["layers"] == 32


def test_schema_writes_a_file_a_form(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "schema")
    assert code == 0
    schemas = json.loads(out)
    assert {"device", "system", "model", "traffic", "scenario"} <= set(schemas)
    code, _, _ = run(capsys, "schema", "-o", str(tmp_path / "schemas"))
    assert code == 0
    written = {path.name.removesuffix(".schema.json") for path in (tmp_path / "schemas").iterdir()}
    assert written == set(schemas)


def test_trace_summarize_convert_generate(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    about = json.loads(run(capsys, "trace", "summarize", "azure-like-2k", "--json")[1])
    assert about["requests"] == 2000
    assert "2,000 requests" in run(capsys, "trace", "summarize", "azure-like-2k")[1]
    part = tmp_path / "part.csv.gz"
    window = ["--window", "10", "60", "--limit", "50"]
    assert run(capsys, "trace", "convert", "azure-like-2k", "-o", str(part), *window)[0] == 0
    assert json.loads(run(capsys, "trace", "summarize", str(part), "--json")[1])["requests"] == 50
    made = tmp_path / "made.csv"
    line = ["trace", "generate", "--like", "azure-like-2k", "--requests", "300", "-o", str(made)]
    assert run(capsys, *line)[0] == 0
    again = json.loads(run(capsys, "trace", "summarize", str(made), "--json")[1])
    assert again["requests"] == 300
    assert again["input_tokens"]["mean"] == pytest.approx(about["input_tokens"]["mean"], rel=0.1)


def test_operator_trace_adds_up_to_the_iterations(capsys: pytest.CaptureFixture[str]) -> None:
    line = ["trace", "operators", "llama-8b-azure-h100", "--iterations", "3", *SHORT]
    code, out, _ = run(capsys, *line)
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert {row["iteration"] for row in rows} == {"0", "1", "2"}
    first = [row for row in rows if row["iteration"] == "0"]
    starts = [float(row["start_s"]) for row in first]
    times = [float(row["time_s"]) for row in first]
    ends = [start + time for start, time in zip(starts, times, strict=True)]
    assert starts[1:] == pytest.approx(ends[:-1])
    assert float(first[0]["tokens"]) > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "mixtral-azure-duplx"], "mixtral-azure-duplex"),
        (["run", "no-such-file.yaml"], "no-such-file.yaml"),
        (["compare", "mixtral-azure-duplex", "--system", "h100-sxn-x4"], "h100-sxm"),
        (["run", "mixtral-azure-duplex", "--set", "schedular.max_batch=3"], "scheduler"),
        (["run", "mixtral-azure-duplex", "--set", "scheduler.max_batch"], "path=value"),
        (["run", "mixtral-azure-duplex", "--set", "model=mixtral-8x8b"], "mixtral-8x7b"),
        (["run", "mixtral-azure-duplex", "--set", "parallel.tp=3"], "3 does not divide"),
        (["show", "h100-sxn"], "h100-sxm"),
        (["list", "device"], "devices"),
        (["trace", "summarize", "azure-like-3k"], "azure-like-2k"),
        (["explan"], "explain"),
    ],
)
def test_a_mistake_is_one_clear_error(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert words in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "gpt-oss-azure-hnlpu", "--set", "model=mixtral-8x7b"], "runs nothing else"),
        (["run", "llama-1b-ethos-u55"], "does not fit"),
        (["explain", "llama-1b-ethos-u55"], "does not fit"),
        (["run", "mixtral-azure-h100", "--set", "system.coprocessing=pe"], "two processors"),
    ],
)
def test_an_infeasible_design_says_its_numbers(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == 3
    assert out == ""
    assert err.startswith("Infeasible: ")
    assert words in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "llama-8b-azure-h100", "-o", "FILE/out"],
        ["reproduce", "hnlpu", "-o", "FILE/out"],
        ["reproduce", "hnlpu", "--page", "NONE/page.md"],
        ["trace", "convert", "azure-like-2k", "-o", "NONE/trace.csv"],
    ],
)
def test_output_that_cannot_be_written_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    places = {"FILE": str(tmp_path / "file"), "NONE": str(tmp_path / "none")}
    line = [re.sub("FILE|NONE", lambda found: places[found[0]], each) for each in arguments]
    code, out, err = run(capsys, *line)
    assert (code, out) == (2, "")
    assert str(tmp_path) in err
    assert "Traceback" not in err


@pytest.mark.parametrize("kind", SHOWN)
def test_every_kind_is_listed_and_shown(capsys: pytest.CaptureFixture[str], kind: str) -> None:
    code, out, _ = run(capsys, "list", kind, "--json")
    assert code == 0
    name = json.loads(out)[0]["name"]
    code, out, _ = run(capsys, "show", name, "--kind", kind, "--json")
    assert code == 0
    assert json.loads(out)["title"]
    if kind != "techniques":
        _, again, _ = run(capsys, "show", str(library.files(kind)[name]), "--json")
        assert json.loads(again) == json.loads(out)


def test_every_folder_of_the_library_is_a_kind() -> None:
    assert set(KINDS) - {"papers"} < set(SHOWN)


def test_a_name_of_several_kinds_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "show", "default", "--json")
    assert (code, json.loads(out)["name"]) == (0, "default")
    assert err == "'default' is also in costs and hosts: --kind shows it\n"


def test_a_cold_cache_is_announced_once_something_runs(tmp_path: Path) -> None:
    """The first of two runs compiles, and says so on standard error; wrong input isn't run."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    code = (
        "from sim.cli import main\nfrom sim.cli.output import tell_compiling\n"
        "try:\n    main(['run', 'llama-8b-azure-h100', '--set', 'parallel.tp=3'])\n"
        "except SystemExit as stopped:\n    print(stopped.code)\n"
        "from sim.kernel.laws import compute_time\ntell_compiling()\ncompute_time(1.0, 1.0, 1.0)\n"
    )
    told = []
    for _ in range(2):
        found = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        assert found.stdout == "2\n"
        told.append([line for line in found.stderr.splitlines() if "parallel" not in line])
    assert told == [["compiling the kernel, once: about 40 s ..."], []]
