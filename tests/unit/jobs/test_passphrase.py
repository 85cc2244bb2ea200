"""jobs/passphrase.py: which source rules, and what is said when there is none."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import pytest

from seedcorn.errors import CredentialError, UsageError
from seedcorn.jobs.environment import Environment
from seedcorn.jobs.passphrase import PassphraseSources, new_passphrase, read_passphrase, read_passphrase_file


class Ears:
    """Hears warnings."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def __call__(self, text: str) -> None:
        self.heard.append(text)


@pytest.fixture
def ears() -> Ears:
    return Ears()


@pytest.fixture
def all_sources(tmp_path: Path) -> dict[str, str]:
    """Each with its own passphrase."""
    for name in ("from-file", "seedcorn-passphrase"):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(name + "\n")
    return {
        "SEEDCORN_PASSPHRASE_FILE": "from-file",
        "CREDENTIALS_DIRECTORY": str(tmp_path),
        "SEEDCORN_PASSPHRASE_COMMAND": "echo from-command",
        "SEEDCORN_PASSPHRASE": "from-variable",
    }


def sources(variables: dict[str, str], cwd: Path, **given: str) -> PassphraseSources:
    return PassphraseSources(Environment(variables, cwd), "/place", **given)


def never(question: str) -> str:
    raise AssertionError(question)


def test_the_order_of_the_sources(all_sources: dict[str, str], tmp_path: Path, ears: Ears) -> None:
    expected = ["from-file", "seedcorn-passphrase", "from-command", "from-variable"]
    for passphrase, variable in zip(expected, list(all_sources), strict=True):
        assert read_passphrase(sources(all_sources, tmp_path), never, ears) == passphrase
        del all_sources[variable]
    assert read_passphrase(sources({}, tmp_path), lambda question: f"typed for {question}", ears).startswith("typed for Passphrase of /place")
    assert len(ears.heard) == 1  # about the variable


def test_what_is_given_rules_over_variables(all_sources: dict[str, str], tmp_path: Path, ears: Ears) -> None:
    (tmp_path / "given").touch(mode=0o600)
    (tmp_path / "given").write_text("given")
    assert read_passphrase(sources(all_sources, tmp_path, file="given"), None, ears) == "given"
    only_command = {"SEEDCORN_PASSPHRASE_COMMAND": "echo no"}
    assert read_passphrase(sources(only_command, tmp_path, command="printf 'two words'"), None, ears) == "two words"
    assert ears.heard == []


def test_the_keyring_is_asked_if_it_is_there(tmp_path: Path, ears: Ears, fake_keyring: types.ModuleType) -> None:
    assert read_passphrase(sources({}, tmp_path), never, ears) == "from-keyring for seedcorn /place"


def test_a_keyring_that_does_not_run_is_passed_over(tmp_path: Path, ears: Ears, fake_keyring: types.ModuleType) -> None:
    def fail(service: str, user: str) -> str:
        raise sys.modules["keyring.errors"].KeyringError

    fake_keyring.__dict__["get_password"] = fail
    assert read_passphrase(sources({}, tmp_path), lambda _: "typed", ears) == "typed"


@pytest.fixture
def fake_keyring(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    keyring, errors = types.ModuleType("keyring"), types.ModuleType("keyring.errors")
    keyring.__dict__["get_password"] = lambda service, user: f"from-keyring for {service} {user}"
    errors.__dict__["KeyringError"] = type("KeyringError", (Exception,), {})
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    monkeypatch.setitem(sys.modules, "keyring.errors", errors)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: keyring)
    return keyring


def test_nobody_to_ask(tmp_path: Path, ears: Ears) -> None:
    with pytest.raises(CredentialError) as caught:
        read_passphrase(sources({}, tmp_path), None, ears)
    for source in ("--passphrase-file", "SEEDCORN_PASSPHRASE_FILE", "systemd", "--passphrase-command", "keyring", "terminal"):
        assert source in str(caught.value)


LINES = [(b"a b ", "a b "), (b"a\n", "a"), (b"a\r\n", "a"), (b"a\n\n", "a\n"), ("größer\n".encode(), "größer")]


@pytest.mark.parametrize(("data", "passphrase"), LINES)
def test_one_line_end_does_not_belong_to_it(data: bytes, passphrase: str, tmp_path: Path, ears: Ears) -> None:
    (tmp_path / "file").touch(mode=0o600)
    (tmp_path / "file").write_bytes(data)
    assert read_passphrase_file(tmp_path / "file", ears) == passphrase
    assert ears.heard == []


@pytest.mark.parametrize("data", [b"", b"\n", b"\xff\xfe"])
def test_files_that_hold_none(data: bytes, tmp_path: Path, ears: Ears) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(CredentialError):
        read_passphrase_file(tmp_path / "file", ears)


@pytest.mark.parametrize("command", ["", "'unfinished", "no-such-program-anywhere", "false", "true"])
def test_commands_that_give_none(command: str, tmp_path: Path, ears: Ears) -> None:
    with pytest.raises(CredentialError):
        read_passphrase(sources({}, tmp_path, command=command or " "), never, ears)


def test_no_shell_is_between(tmp_path: Path, ears: Ears) -> None:
    assert read_passphrase(sources({}, tmp_path, command="echo $HOME;id"), never, ears) == "$HOME;id"


def test_a_new_one_is_typed_twice(ears: Ears) -> None:
    answers = iter(["one", "one", "one", "other", ""])

    def prompt(question: str) -> str:
        return next(answers)

    assert new_passphrase(None, None, prompt, ears) == "one"
    with pytest.raises(UsageError, match="two different"):
        new_passphrase(None, None, prompt, ears)
    with pytest.raises(UsageError, match="empty"):
        new_passphrase(None, None, prompt, ears)


def test_a_file_for_a_new_one_must_be_there(tmp_path: Path, ears: Ears) -> None:
    with pytest.raises(UsageError, match="does not exist: write"):
        new_passphrase(tmp_path / "missing", None, never, ears)
