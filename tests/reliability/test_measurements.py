"""reliability.measurements: every command can be run, and what it leaves is kept whether it ended well or not."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from reliability.evidence import Evidence, load_all
from reliability.measurements import MEASUREMENTS, OUT, Measurement, Size, measure, measurements_of
from reliability.outputs import json_object
from seedcorn.testing.simulate import parse_corpus

ROOT = Path(__file__).parents[2]
SMALL, FULL = Size(small=True), Size()


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda measurement: str(measurement.name))
@pytest.mark.parametrize("size", [SMALL, FULL], ids=["small", "full"])
def test_commands_name_what_there_is(measurement: Measurement, size: Size) -> None:
    command = measurement.command(size)
    if command[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(command[2]) is not None
    else:
        assert command[0] == "pytest"
        paths = [word for word in command if word.startswith("tests")]
        assert paths
        assert all((ROOT / path).exists() for path in paths)


def test_runs_are_spread_over_their_kinds() -> None:
    commands = [found.command(Size(runs=100_000)) for found in MEASUREMENTS if found.name.startswith("simulation")]
    spread = {" ".join(word for word in command[5:] if word != "--json"): command[4] for command in commands}
    assert spread == {"": "0-99999", "--weak": "0-9999", "--rollback": "0-9999", "--copy": "0-9999", "--domains": "0-9999", "--crowd": "0-9999"}
    kinds = parse_corpus("".join(f"0 {options}\n" for options in spread))
    assert len({options for _, options in kinds}) == len(spread)


def test_all_or_some() -> None:
    assert [found.name for found in measurements_of(["overhead", "model"])] == ["model", "overhead"]
    assert measurements_of([]) == list(MEASUREMENTS)


def script(code: str, *arguments: str) -> Measurement:
    return Measurement("script", lambda _size: ["python", "-c", code, *arguments], json_object)


def test_evidence_outlives_its_run(tmp_path: Path) -> None:
    found = measure(script("print('{\"runs\": 7}')"), SMALL)
    assert found is not None
    found.save(tmp_path / "kept")
    assert load_all(tmp_path / "kept") == {"script": found}
    assert found.passed
    assert found.small
    assert found.figures == {"runs": 7}
    assert found.command.startswith("python -c ")
    assert isinstance(Evidence.load(tmp_path / "kept" / "script.json").machine["cores"], int)


def test_a_failed_command_is_evidence_too_but_not_if_it_found_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    writes = "import sys; open(sys.argv[1], 'w').write('{\"seed\": 3}'); sys.exit(1)"
    found = measure(script(writes, OUT), FULL)
    assert found is not None
    assert (found.passed, found.small, found.figures) == (False, False, {"seed": 3})
    assert found.command.endswith(OUT)
    assert measure(script("import sys; print('why', sys.argv[1]); sys.exit(1)", OUT), FULL) is None
    assert "why" in capsys.readouterr().out
