"""jobs/environment.py: what rules over what, and where things are."""

from __future__ import annotations

from pathlib import Path

import pytest

from seedcorn.errors import UsageError
from seedcorn.ids import RepositoryId
from seedcorn.jobs.environment import Environment, bucket_of, place_of

REPOSITORY = RepositoryId(bytes(range(16)))


def of(**variables: str) -> Environment:
    return Environment({"HOME": "/h"} | variables, Path("/here"))


def test_directories() -> None:
    assert of().config_dir == Path("/h/.config/seedcorn")
    assert of(XDG_CONFIG_HOME="/x").config_dir == Path("/x/seedcorn")
    assert of(XDG_CONFIG_HOME="relative").config_dir == Path("/h/.config/seedcorn")
    assert of(XDG_CONFIG_HOME="/x", SEEDCORN_CONFIG_DIR="/c").config_dir == Path("/c")
    assert of().state_dir == Path("/h/.local/state/seedcorn")
    assert of(XDG_STATE_HOME="/x").state_dir == Path("/x/seedcorn")
    assert of(SEEDCORN_STATE_DIR="s").state_dir == Path("/here/s")


def test_host_file() -> None:
    usual = Path(f"/h/.config/seedcorn/hosts/{REPOSITORY.hex()}.json")
    assert of().host_file(None, REPOSITORY) == usual
    assert of(SEEDCORN_HOST_FILE="/f").host_file(None, REPOSITORY) == Path("/f")
    assert of(SEEDCORN_HOST_FILE="/f").host_file("g", REPOSITORY) == Path("/here/g")


def test_repository() -> None:
    assert of(SEEDCORN_REPOSITORY="s3://b/p").repository(None) == "s3://b/p"
    assert of(SEEDCORN_REPOSITORY="s3://b/p").repository("./r/") == "/here/r"
    with pytest.raises(UsageError, match="SEEDCORN_REPOSITORY"):
        of().repository(None)


@pytest.mark.parametrize(
    ("typed", "place"),
    [("/srv/b", "/srv/b"), ("b", "/here/b"), ("../b", "/b"), ("s3:https://h/b", "s3:https://h/b"), ("file:///b", "file:///b"), ("gs://b", "gs://b")],
)
def test_place(typed: str, place: str) -> None:
    assert place_of(typed, Path("/here")) == place


def test_a_place_for_ssh_is_not_taken_for_a_directory() -> None:
    with pytest.raises(UsageError, match=r"if it is a directory here: \./user@host:repo"):
        place_of("user@host:repo", Path("/here"))
    assert place_of("./user@host:repo", Path("/here")) == "/here/user@host:repo"
    assert place_of("a/user@host:repo", Path("/here")) == "/here/a/user@host:repo"


def test_bucket() -> None:
    assert bucket_of("s3:https://host/bucket/a/b") == ("bucket", "a/b")
    for other in ("/srv/b", "gs://bucket/b"):
        with pytest.raises(UsageError, match="not on S3"):
            bucket_of(other)


def test_the_source_of_a_copy_has_variables_of_its_own() -> None:
    both = {
        "AWS_REGION": "here",
        "AWS_ACCESS_KEY_ID": "mine",
        "SEEDCORN_REPOSITORY": "/mine",
        "SEEDCORN_PASSPHRASE_FILE": "/p",
        "SEEDCORN_STATE_DIR": "/s",
    }
    source = of(**both, SEEDCORN_FROM_REPOSITORY="/theirs", SEEDCORN_FROM_AWS_ACCESS_KEY_ID="theirs").of_source()
    assert source.repository(None) == "/theirs" and source.state_dir == Path("/s")
    assert source.credentials == {"AWS_REGION": "here", "AWS_ACCESS_KEY_ID": "theirs"}
    assert "SEEDCORN_PASSPHRASE_FILE" not in source.variables
    with pytest.raises(UsageError):
        of(**both).of_source().repository(None)


def test_only_what_the_providers_define_is_passed_on() -> None:
    given = {"AWS_ACCESS_KEY_ID": "a", "GOOGLE_SERVICE_ACCOUNT": "g", "AZURE_TENANT_ID": "t", "SEEDCORN_PASSPHRASE": "p", "PATH": "/bin"}
    assert of(**given).credentials.keys() == {"AWS_ACCESS_KEY_ID", "GOOGLE_SERVICE_ACCOUNT", "AZURE_TENANT_ID"}


def test_store_options(tmp_path: Path) -> None:
    (tmp_path / "ca").write_bytes(b"pem")
    assert of(SEEDCORN_CONNECTIONS="3").store_options().connections == 3
    assert of(SEEDCORN_CONNECTIONS="3").store_options(connections=5).connections == 5
    assert of(SEEDCORN_UNSIGNED_PAYLOAD="yes").store_options().unsigned_payload
    assert not of(SEEDCORN_UNSIGNED_PAYLOAD="0").store_options().unsigned_payload
    assert of().store_options(ca_certificate=str(tmp_path / "ca")).ca_certificate == b"pem"
    for wrong in (of(SEEDCORN_CONNECTIONS="-1"), of(SEEDCORN_CONNECTIONS="0"), of(SEEDCORN_CA_CERTIFICATE="/no/such")):
        with pytest.raises(UsageError):
            wrong.store_options()
