"""Just enough of request signing to make a bucket on a test server: AWS Signature Version 4 and Azure Shared Key.

The store itself signs through its library; this stands apart so that a test's preparation does not go through what it tests.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import urllib.request
from datetime import UTC, datetime
from urllib.parse import urlsplit

__all__ = ["azure_request", "s3_request"]


def s3_request(
    method: str, url: str, *, access_key: str, secret_key: str, region: str, body: bytes = b"", service: str = "s3"
) -> urllib.request.Request:
    """A signed request for ``url``, which must have no characters that need escaping and at most one parameter.

    ``service`` is ``iam`` for what concerns users.
    """
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    parts, digest = urlsplit(url), hashlib.sha256(body).hexdigest()
    headers = {"host": parts.netloc, "x-amz-content-sha256": digest, "x-amz-date": now}
    names = ";".join(headers)
    query = f"{parts.query}=" if parts.query and "=" not in parts.query else parts.query
    canonical = "\n".join([method, parts.path, query, *(f"{name}:{value}" for name, value in headers.items()), "", names, digest])
    scope = f"{now[:8]}/{region}/{service}/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return urllib.request.Request(url, data=body or None, method=method, headers=headers)  # noqa: S310  # loopback only


def azure_request(method: str, url: str, *, account: str, account_key: str, resource: str) -> urllib.request.Request:
    """A signed request without a body. ``resource`` is the path and, a line each, the query, as Azure canonicalises them."""
    date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    headers = {"x-ms-date": date, "x-ms-version": "2021-08-06"}
    unsent = [""] * 11  # eleven standard headers are signed whether sent or not; none is
    to_sign = "\n".join([method, *unsent, *(f"{name}:{value}" for name, value in headers.items()), resource])
    signature = base64.b64encode(hmac.digest(base64.b64decode(account_key), to_sign.encode(), "sha256")).decode()
    return urllib.request.Request(url, method=method, headers=headers | {"Authorization": f"SharedKey {account}:{signature}"})  # noqa: S310
