"""Addresses as people type them, and the settings that credentials turn into."""

from __future__ import annotations

from pathlib import Path

import pytest

from seedcorn.errors import UsageError
from seedcorn.store.address import StoreAddress, open_store, parse_address
from seedcorn.store.cloud import CloudStore
from seedcorn.store.local import LocalStore
from seedcorn.store.options import StoreOptions
from seedcorn.store.providers import ca_bundle, cloud_settings

_KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("/srv/backup", StoreAddress("local", path=Path("/srv/backup"))),
        ("/srv/s3:odd name", StoreAddress("local", path=Path("/srv/s3:odd name"))),
        ("file:///srv/a%20b", StoreAddress("local", path=Path("/srv/a b"))),
        ("s3://bucket", StoreAddress("s3", "bucket")),
        ("s3://bucket/", StoreAddress("s3", "bucket")),
        ("s3://my.bucket/Some/prefix/", StoreAddress("s3", "my.bucket", "Some/prefix")),
        ("s3:https://host.example/bucket/p", StoreAddress("s3", "bucket", "p", "https://host.example")),
        ("s3:http://127.0.0.1:9000/bucket", StoreAddress("s3", "bucket", "", "http://127.0.0.1:9000")),
        ("s3:http://[::1]:9000/bucket", StoreAddress("s3", "bucket", "", "http://[::1]:9000")),
        ("s3:host.example:9000/bucket/a/b", StoreAddress("s3", "bucket", "a/b", "https://host.example:9000")),
        ("s3:s3.amazonaws.com/bucket/a", StoreAddress("s3", "bucket", "a")),
        ("gs://bucket/prefix", StoreAddress("gs", "bucket", "prefix")),
        ("az://container/prefix", StoreAddress("az", "container", "prefix")),
    ],
)
def test_an_address_is_understood_and_shown_as_it_can_be_typed(text: str, address: StoreAddress) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "", "backup", "./backup", "~/backup", "file://srv", "file:/srv", "s3:", "s3://", "s3:///prefix", "s3://b", "s3:https://host", "s3:https:///bucket",
        "s3:ftp://host/bucket", "s3://bucket/a//b", "s3://bucket/../b", "s3://bucket/./b", "s3://bucket/a b", "s3://bucket/ä", "s3://bucket?x=y",
        "s3://bucket/a?x=y", "s3://bucket/a#b", "gs:bucket:/", "az:container:/", "memory://", "sftp://host/path", "b2:bucket", "https://host/bucket",
        "S3://bucket", "s3://bucket/a\n",
    ],
)  # fmt: skip
def test_what_is_no_address_is_a_usage_error_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"/srv/backup|s3:https://|- between single slashes"):
        parse_address(text)


@pytest.mark.parametrize("text", ["s3://id:secret@bucket/prefix", "s3:https://id:secret@host/bucket", "az://container@account/p"])
def test_credentials_do_not_belong_into_an_address(text: str) -> None:
    with pytest.raises(UsageError, match="credentials") as raised:
        parse_address(text)
    assert "secret" not in str(raised.value)


def test_a_directory_needs_no_credentials(tmp_path: Path) -> None:
    store = open_store(str(tmp_path), credentials={}, options=StoreOptions())
    assert isinstance(store, LocalStore)
    assert store.url == str(tmp_path)


@pytest.mark.parametrize(
    ("text", "credentials"),
    [
        ("s3://bucket/prefix", _KEYS),
        ("s3:https://host.example/bucket/prefix", _KEYS),
        ("gs://bucket/prefix", {"GOOGLE_BEARER_TOKEN": "token"}),
        ("az://container/prefix", {"AZURE_STORAGE_ACCOUNT_NAME": "account", "AZURE_STORAGE_ACCOUNT_KEY": "c2VjcmV0"}),
    ],
)
def test_every_provider_opens_without_a_request(text: str, credentials: dict[str, str]) -> None:
    """Google Cloud Storage and Azure themselves were never met; Azure's emulator is, in tests/contract."""
    store = open_store(text, credentials=credentials, options=StoreOptions())
    assert isinstance(store, CloudStore)
    assert store.url == text
    assert store.requests.total == 0


def test_the_endpoint_of_the_address_outranks_the_variables() -> None:
    given = {**_KEYS, "AWS_ENDPOINT_URL": "https://second.example/", "AWS_ENDPOINT_URL_S3": "https://first.example"}
    assert cloud_settings("s3", "bucket", "", "https://named.example", given).place.endpoint == "https://named.example"
    assert cloud_settings("s3", "bucket", "", "", given).place.endpoint == "https://first.example"
    del given["AWS_ENDPOINT_URL_S3"]
    assert cloud_settings("s3", "bucket", "", "", given).config["aws_endpoint_url_s3"] == "https://second.example"


def test_an_endpoint_must_be_a_url() -> None:
    with pytest.raises(UsageError, match="not a URL"):
        open_store("s3://bucket", credentials={**_KEYS, "AWS_ENDPOINT_URL": "host.example"}, options=StoreOptions())


def test_half_a_key_is_refused() -> None:
    with pytest.raises(UsageError, match="belong together"):
        open_store("s3://bucket", credentials={"AWS_ACCESS_KEY_ID": "id"}, options=StoreOptions())


def test_empty_variables_count_as_not_set() -> None:
    settings = cloud_settings("s3", "bucket", "", "", {**_KEYS, "AWS_SESSION_TOKEN": "", "AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-west-1"})
    assert settings.access_key is not None
    assert settings.access_key.session_token is None
    assert settings.place.region == "eu-west-1"


def test_azure_needs_an_account() -> None:
    with pytest.raises(UsageError, match="AZURE_STORAGE_ACCOUNT_NAME"):
        open_store("az://container", credentials={}, options=StoreOptions())


def test_the_first_of_two_names_for_one_setting_wins() -> None:
    given = {"AZURE_STORAGE_ACCOUNT_NAME": "first", "AZURE_STORAGE_ACCOUNT": "second"}
    assert cloud_settings("az", "container", "", "", given).config["account_name"] == "first"


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(cloud_settings("s3", "bucket", "", "", {**_KEYS, "AWS_SESSION_TOKEN": "secret-token"}))


def test_a_ca_bundle_is_read_or_complained_about(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(b"PEM")
    assert ca_bundle({"AWS_CA_BUNDLE": str(bundle)}) == b"PEM"
    assert ca_bundle({}) is None
    with pytest.raises(UsageError, match="AWS_CA_BUNDLE"):
        ca_bundle({"AWS_CA_BUNDLE": str(tmp_path / "none")})
