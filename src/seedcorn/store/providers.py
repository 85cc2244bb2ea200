"""From a place and a set of credentials to the settings of one cloud provider. Owns the names of the variables that each provider's tools use.

Pure: values in, values out, except that a CA bundle named by its path is read. Looks at no environment: callers pass what they want considered.
The library below does look: where no value is given here it takes ``AWS_*``, ``GOOGLE_*`` or ``AZURE_*`` of the process, and then asks the machine's
metadata service, which is how the roles of cloud machines work. Proxies it takes from ``HTTPS_PROXY``, ``HTTP_PROXY`` and
``NO_PROXY``. A complete access key given here is used as it is, and nothing is mixed into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from seedcorn.errors import UsageError
from seedcorn.store.cloud_errors import Place

__all__ = ["AccessKey", "CloudSettings", "Provider", "ca_bundle", "cloud_settings"]

Provider = Literal["s3", "gs", "az"]


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A complete S3 access key."""

    key_id: str
    secret: str
    session_token: str | None

    def __repr__(self) -> str:
        return f"AccessKey({self.key_id!r})"


@dataclass(frozen=True, slots=True)
class CloudSettings:
    """Everything that opens one bucket, apart from patience."""

    provider: Provider
    place: Place
    prefix: str
    config: Mapping[str, str]  # setting of the library -> value; may hold secrets
    access_key: AccessKey | None = None  # S3 only

    def __repr__(self) -> str:
        return f"CloudSettings({self.provider!r}, {self.place})"


# Variable -> setting of the library. Of several variables for one setting the first that is set wins.
_S3_VARIABLES = {
    "AWS_ROLE_ARN": "role_arn",
    "AWS_ROLE_SESSION_NAME": "role_session_name",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "web_identity_token_file",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "container_credentials_relative_uri",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": "container_credentials_full_uri",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "container_authorization_token_file",
    "AWS_METADATA_ENDPOINT": "metadata_endpoint",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "virtual_hosted_style_request",
    "AWS_REQUEST_PAYER": "request_payer",
    "AWS_SKIP_SIGNATURE": "skip_signature",
}
_GS_VARIABLES = {
    "GOOGLE_SERVICE_ACCOUNT": "service_account",
    "GOOGLE_SERVICE_ACCOUNT_PATH": "service_account",
    "GOOGLE_SERVICE_ACCOUNT_KEY": "service_account_key",
    "GOOGLE_APPLICATION_CREDENTIALS": "application_credentials",
    "GOOGLE_BEARER_TOKEN": "bearer_token",
    "GOOGLE_BASE_URL": "base_url",
    "GOOGLE_SKIP_SIGNATURE": "skip_signature",
}
_AZ_VARIABLES = {
    "AZURE_STORAGE_ACCOUNT_NAME": "account_name",
    "AZURE_STORAGE_ACCOUNT": "account_name",
    "AZURE_STORAGE_ACCOUNT_KEY": "account_key",
    "AZURE_STORAGE_ACCESS_KEY": "account_key",
    "AZURE_STORAGE_KEY": "account_key",
    "AZURE_STORAGE_SAS_TOKEN": "sas_key",
    "AZURE_STORAGE_SAS_KEY": "sas_key",
    "AZURE_STORAGE_TOKEN": "token",
    "AZURE_CLIENT_ID": "client_id",
    "AZURE_CLIENT_SECRET": "client_secret",
    "AZURE_TENANT_ID": "tenant_id",
    "AZURE_AUTHORITY_HOST": "authority_host",
    "AZURE_FEDERATED_TOKEN_FILE": "federated_token_file",
    "AZURE_STORAGE_ENDPOINT": "endpoint",
    "AZURE_ENDPOINT": "endpoint",
}


def cloud_settings(provider: Provider, bucket: str, prefix: str, endpoint: str, credentials: Mapping[str, str]) -> CloudSettings:
    """The settings of ``bucket`` under ``provider``. ``endpoint`` is the one that the address names, or empty.

    Raises:
        UsageError: something that the provider can not do without is missing.
    """
    build = {"s3": _s3, "gs": _gs, "az": _az}[provider]
    return build(bucket, prefix, endpoint, {name: value for name, value in credentials.items() if value})


def ca_bundle(credentials: Mapping[str, str]) -> bytes | None:
    """The PEM file that ``AWS_CA_BUNDLE`` names, if it does.

    Raises:
        UsageError: it can not be read.
    """
    path = credentials.get("AWS_CA_BUNDLE")
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"AWS_CA_BUNDLE names {path}, which can not be read: {error.strerror}") from error


def _s3(bucket: str, prefix: str, endpoint: str, given: Mapping[str, str]) -> CloudSettings:
    config = _translate(_S3_VARIABLES, given)
    config["region"] = given.get("AWS_REGION") or given.get("AWS_DEFAULT_REGION") or "us-east-1"
    endpoint = (endpoint or given.get("AWS_ENDPOINT_URL_S3") or given.get("AWS_ENDPOINT_URL") or given.get("AWS_ENDPOINT") or "").rstrip("/")
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise UsageError(f"the endpoint {endpoint!r} is not a URL: write it like https://objects.example.org")
    if endpoint:
        config["aws_endpoint_url_s3"] = endpoint  # the setting that nothing in the environment outranks
    place = Place(bucket, endpoint or f"Amazon S3 ({config['region']})", config["region"], "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    return CloudSettings("s3", place, prefix, config, _access_key(given))


def _access_key(given: Mapping[str, str]) -> AccessKey | None:
    key_id, secret = given.get("AWS_ACCESS_KEY_ID"), given.get("AWS_SECRET_ACCESS_KEY")
    if key_id and secret:
        return AccessKey(key_id, secret, given.get("AWS_SESSION_TOKEN"))
    if key_id or secret:
        raise UsageError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together: one of them is not set")
    return None


def _gs(bucket: str, prefix: str, endpoint: str, given: Mapping[str, str]) -> CloudSettings:
    config = _translate(_GS_VARIABLES, given)
    place = Place(bucket, config.get("base_url", "Google Cloud Storage"), "", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT")
    return CloudSettings("gs", place, prefix, config)


def _az(bucket: str, prefix: str, endpoint: str, given: Mapping[str, str]) -> CloudSettings:
    config = _translate(_AZ_VARIABLES, given)
    if "account_name" not in config:
        raise UsageError("Azure needs the name of the storage account: set AZURE_STORAGE_ACCOUNT_NAME")
    where = config.get("endpoint", f"Azure account {config['account_name']!r}")
    return CloudSettings("az", Place(bucket, where, "", "AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY"), prefix, config)


def _translate(variables: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    config: dict[str, str] = {}
    for variable, setting in variables.items():
        if variable in given:
            config.setdefault(setting, given[variable])
    return config
