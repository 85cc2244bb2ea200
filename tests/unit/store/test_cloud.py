"""What CloudStore makes of the answers that stores give on bad days. The good days are in tests/contract."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from seedcorn.errors import AccessDeniedError, ObjectExistsError, ObjectNotFoundError, StoreError, StoreUnavailableError
from seedcorn.store.address import open_store
from seedcorn.store.options import StoreOptions


class TestCreateOnlyPut:
    def test_the_condition_and_the_whole_body_go_in_one_request(self, s3: Any) -> None:
        data = bytes(range(256)) * (40 << 12)
        s3.store().put("packs/1", data)
        (asked,) = s3.asked
        assert (asked.method, asked.path, asked.headers["if-none-match"], asked.body) == ("PUT", "packs/1", "*", data)

    def test_our_own_object_after_a_lost_answer_is_a_success(self, s3: Any, reply: Any) -> None:
        def store_and_break_off(asked: Any) -> Any:
            if asked.method == "PUT" and asked.path not in s3.objects:
                s3.objects[asked.path] = asked.body
                return reply(0)
            return None

        s3.rules.append(store_and_break_off)
        s3.store().put("snapshots/1", b"ours")
        assert s3.objects == {"snapshots/1": b"ours"}
        assert (s3.count("PUT"), s3.count("GET")) == (2, 1)

    @pytest.mark.parametrize("there", [b"them", b"a longer one", b""])
    def test_the_object_of_somebody_else_is_a_conflict(self, s3: Any, there: bytes) -> None:
        s3.objects["snapshots/1"] = there
        with pytest.raises(ObjectExistsError):
            s3.store().put("snapshots/1", b"ours")
        assert s3.objects["snapshots/1"] == there

    def test_a_conflict_without_an_object_is_tried_again(self, s3: Any, error_reply: Any) -> None:
        conflicts = iter([409, 409])
        s3.rules.append(
            lambda asked: error_reply(status, "ConditionalRequestConflict") if asked.method == "PUT" and (status := next(conflicts, 0)) else None
        )
        s3.store().put("snapshots/1", b"ours")
        assert s3.objects["snapshots/1"] == b"ours"

    def test_a_conflict_that_never_ends_is_reported(self, s3: Any, error_reply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("time.sleep", lambda _: None)
        s3.rules.append(lambda asked: error_reply(409, "OperationAborted") if asked.method == "PUT" else None)
        with pytest.raises(StoreUnavailableError, match="conflict"):
            s3.store().put("snapshots/1", b"ours")

    def test_a_host_that_may_not_read_compares_by_entity_tag(self, s3: Any, error_reply: Any) -> None:
        s3.objects.update({"packs/a": b"before", "packs/b": b"ours", "packs/c": b"after"})
        s3.rules.append(lambda asked: error_reply(403, "AccessDenied") if asked.method == "GET" and "list-type" not in asked.query else None)
        store = s3.store()
        store.put("packs/b", b"ours")
        for other in (b"them", b"longer"):
            with pytest.raises(ObjectExistsError):
                store.put("packs/b", other)

    def test_a_host_that_may_not_read_tries_again_after_a_conflict_without_an_object(self, s3: Any, error_reply: Any) -> None:
        """As of our own first try, which the store was still busy with when the second came."""
        conflicts = iter([409, 409])

        def rule(asked: Any) -> Any:
            if asked.method == "PUT" and (status := next(conflicts, 0)):
                return error_reply(status, "ConditionalRequestConflict")
            return error_reply(403, "AccessDenied") if asked.method == "GET" and "list-type" not in asked.query else None

        s3.rules.append(rule)
        s3.objects["packs/c"] = b"after"
        s3.store().put("packs/b", b"ours")
        assert s3.objects["packs/b"] == b"ours"

    def test_an_entity_tag_that_is_no_checksum_is_not_called_a_conflict(self, s3: Any, reply: Any, error_reply: Any) -> None:
        s3.objects["packs/b"] = b"ours"

        def rule(asked: Any) -> Any:
            if asked.method == "GET" and "list-type" in asked.query:
                return reply(200, re.sub(rb"&quot;[0-9a-f]{32}&quot;", b"&quot;0x8DC1234567890AB&quot;", s3.listing(sorted(s3.objects)).body))
            return error_reply(403, "AccessDenied") if asked.method == "GET" else None

        s3.rules.append(rule)
        with pytest.raises(AccessDeniedError, match="not be compared"):
            s3.store().put("packs/b", b"ours")
        with pytest.raises(ObjectExistsError):  # of another length
            s3.store().put("packs/b", b"others")

    def test_what_may_neither_be_read_nor_listed_is_not_called_a_success(self, s3: Any, error_reply: Any) -> None:
        s3.objects["packs/b"] = b"ours"
        s3.rules.append(lambda asked: error_reply(403, "AccessDenied") if asked.method == "GET" else None)
        with pytest.raises(AccessDeniedError):
            s3.store().put("packs/b", b"ours")

    @pytest.mark.parametrize("status", [501, 400])
    def test_a_store_without_conditions_is_asked_first(self, s3: Any, error_reply: Any, status: int) -> None:
        s3.rules.append(lambda asked: error_reply(status, "NotImplemented") if "if-none-match" in asked.headers else None)
        store = s3.store()
        store.put("snapshots/1", b"ours")
        store.put("snapshots/1", b"ours")
        with pytest.raises(ObjectExistsError):
            store.put("snapshots/1", b"other")
        store.put("snapshots/2", b"more")
        assert s3.objects == {"snapshots/1": b"ours", "snapshots/2": b"more"}
        conditional = [asked.path for asked in s3.asked if "if-none-match" in asked.headers]
        assert conditional == ["snapshots/1"] * (3 if status == 501 else 1)  # the library repeats a 501 as often as it may; then it is learnt

    def test_a_store_without_conditions_is_asked_by_listing_where_reading_is_not_allowed(self, s3: Any, error_reply: Any) -> None:
        def rule(asked: Any) -> Any:
            if "if-none-match" in asked.headers:
                return error_reply(400, "NotImplemented")
            return error_reply(403, "AccessDenied") if asked.method in ("GET", "HEAD") and "list-type" not in asked.query else None

        s3.rules.append(rule)
        store = s3.store()
        store.put("packs/1", b"ours")
        store.put("packs/1", b"ours")
        with pytest.raises(ObjectExistsError):
            store.put("packs/1", b"them")
        assert s3.objects == {"packs/1": b"ours"}

    def test_what_one_put_has_learnt_another_does_not_unlearn(self, s3: Any, error_reply: Any) -> None:
        """The second is under way when the first is told that there are no conditions, and fails later for another reason."""
        second_is_there, first_is_done = threading.Event(), threading.Event()

        def rule(asked: Any) -> Any:
            if "if-none-match" not in asked.headers:
                return None
            if asked.path == "packs/1":
                assert second_is_there.wait(10)
                return error_reply(400, "NotImplemented")
            second_is_there.set()
            assert first_is_done.wait(10)
            return error_reply(403, "AccessDenied")

        s3.rules.append(rule)
        store = s3.store()
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(store.put, "packs/2", b"2")
            store.put("packs/1", b"1")
            first_is_done.set()
            assert isinstance(second.exception(), AccessDeniedError)
        store.put("packs/3", b"3")
        assert "packs/3" not in [asked.path for asked in s3.asked if "if-none-match" in asked.headers]

    def test_a_store_that_has_known_conditions_is_not_overwritten_because_of_one_answer(self, s3: Any, error_reply: Any) -> None:
        store = s3.store()
        store.put("packs/1", b"1")
        s3.rules.append(lambda asked: error_reply(400, "NotImplemented") if asked.method == "PUT" else None)
        with pytest.raises(StoreError, match="NotImplemented"):
            store.put("packs/2", b"2")
        assert all("if-none-match" in asked.headers for asked in s3.asked if asked.method == "PUT")

    def test_a_storm_at_the_first_put_is_weathered_with_all_patience(self, s3: Any, error_reply: Any) -> None:
        s3.objects["seedcorn.json"] = b"{}"
        store = s3.store(first_retries=1, retries=5)
        store.head("seedcorn.json")
        storm = iter([error_reply(503, "SlowDown")] * 4)
        s3.rules.append(lambda asked: next(storm, None))
        store.put("packs/1", b"ours")
        assert s3.objects["packs/1"] == b"ours"


class TestFailures:
    def test_a_storm_of_errors_is_weathered(self, s3: Any, error_reply: Any) -> None:
        storm = iter([error_reply(status, "SlowDown") for status in (503, 429, 500)])
        s3.rules.append(lambda asked: next(storm, None) if asked.method == "GET" else None)
        s3.objects["one"] = b"1"
        store = s3.store()
        store.head("one")
        assert store.get("one") == b"1"

    @pytest.mark.parametrize(
        ("status", "code", "kind", "words"),
        [
            (403, "AccessDenied", AccessDeniedError, "AWS_ACCESS_KEY_ID"),
            (403, "InvalidAccessKeyId", AccessDeniedError, "does not know this access key"),
            (403, "SignatureDoesNotMatch", AccessDeniedError, "AWS_SECRET_ACCESS_KEY"),
            (403, "RequestTimeTooSkewed", AccessDeniedError, "clock"),
            (400, "ExpiredToken", AccessDeniedError, "expired"),
            (404, "NoSuchBucket", StoreError, "create it"),
            (301, "PermanentRedirect", StoreError, "region"),
            (302, "Found", StoreError, "https:// instead of http://"),
            (307, "TemporaryRedirect", StoreError, "AWS_REGION"),
            (400, "AuthorizationHeaderMalformed", StoreError, "region"),
            (400, "InvalidRequest", StoreError, "InvalidRequest: as told"),
            (503, "SlowDown", StoreUnavailableError, "503"),
            (507, "InsufficientStorage", StoreUnavailableError, "507"),
        ],
    )
    @pytest.mark.parametrize("verb", ["put", "get", "list"])
    def test_an_answer_is_said_in_our_words(
        self, s3: Any, error_reply: Any, status: int, code: str, kind: type[StoreError], words: str, verb: str
    ) -> None:
        s3.rules.append(lambda _: error_reply(status, code))
        store = s3.store(first_retries=0)
        use: dict[str, Callable[[], object]] = {
            "put": lambda: store.put("packs/1", b"x"),
            "get": lambda: store.get("packs/1"),
            "list": lambda: list(store.list("packs/")),
        }
        with pytest.raises(kind, match=words) as raised:
            use[verb]()
        assert type(raised.value) is kind
        assert "secret-example" not in str(raised.value)
        assert s3.endpoint in str(raised.value)
        assert "'bucket'" in str(raised.value)

    def test_a_put_into_a_missing_bucket_is_not_a_missing_object(self, s3: Any, reply: Any) -> None:
        s3.rules.append(lambda _: reply(404))
        with pytest.raises(StoreError, match="there is no bucket 'bucket'") as raised:
            s3.store().put("packs/1", b"x")
        assert not isinstance(raised.value, ObjectNotFoundError)

    def test_a_wrong_address_is_reported_in_seconds(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            address = f"s3:http://127.0.0.1:{unused.getsockname()[1]}/bucket"
            store = open_store(address, credentials={"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}, options=StoreOptions(first_retries=2))
            started = time.monotonic()
            with pytest.raises(StoreUnavailableError, match="refuses connections"):
                store.head("seedcorn.json")
            assert time.monotonic() - started < 10

    def test_a_name_without_an_address_is_told_from_a_refusal(self) -> None:
        options = StoreOptions(first_retries=0)
        store = open_store("s3:http://nowhere.invalid/bucket", credentials={"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}, options=options)
        with pytest.raises(StoreUnavailableError, match="no address is known"):
            store.head("seedcorn.json")

    def test_plain_http_under_https_is_named(self, s3: Any) -> None:
        address = f"s3:{s3.endpoint.replace('http:', 'https:')}/bucket"
        store = open_store(address, credentials={"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}, options=StoreOptions(first_retries=0))
        with pytest.raises(StoreError, match="does not speak TLS"):
            store.head("seedcorn.json")

    def test_a_silent_server_is_given_up(self, s3: Any) -> None:
        store = s3.store(timeout_seconds=0.3, retries=0)
        s3.objects["one"] = b"1"
        store.head("one")

        def sleep(_: Any) -> None:
            time.sleep(1)

        s3.rules.append(sleep)
        with pytest.raises(StoreUnavailableError, match="in time"):
            store.head("one")

    @pytest.mark.parametrize("answered", [True, False])
    def test_a_server_that_falls_silent_is_not_waited_for_as_if_it_sent_a_pack(self, s3: Any, answered: bool) -> None:
        """By default that would be three quarters of an hour. While anything comes, it may take as long as a pack."""
        store = s3.store(timeout_seconds=0.3, retries=0, first_retries=0)
        s3.objects["one"] = b"1"
        if answered:
            store.head("one")
        s3.rules.append(lambda _: time.sleep(1))
        with pytest.raises(StoreUnavailableError, match="in time"):
            store.get("one")

    def test_the_first_request_may_carry_a_pack(self, s3: Any) -> None:
        store = s3.store(timeout_seconds=0.3, first_retries=0)
        s3.rules.append(lambda _: time.sleep(1))
        store.put("packs/1", bytes(2 << 20))
        assert len(s3.objects["packs/1"]) == 2 << 20

    def test_a_listing_that_fails_on_its_second_page_does_not_end_quietly(self, s3: Any, error_reply: Any) -> None:
        s3.objects.update({f"packs/{number:04}": b"" for number in range(1000)})
        keys = sorted(s3.objects)
        s3.rules.append(lambda asked: error_reply(403, "AccessDenied") if "continuation-token" in asked.query else s3.listing(keys, more="next"))
        listing = s3.store().list("packs/")
        with pytest.raises(AccessDeniedError):
            list(listing)

    @pytest.mark.parametrize("second", ["no token", "no listing"])
    def test_a_listing_that_ends_with_a_full_page_is_asked_for_more(self, s3: Any, reply: Any, error_reply: Any, second: str) -> None:
        """The library takes both for the end: a page that names no next one, and a 200 that is no page."""
        s3.objects.update({f"packs/{number:04}": b"" for number in range(1500)})

        def rule(asked: Any) -> Any:
            if "continuation-token" in asked.query:
                return reply(200, error_reply(500, "InternalError").body)
            start = asked.query.get("start-after", [""])[0]
            keys = [key for key in sorted(s3.objects) if key > start]
            return s3.listing(keys[:1000], more="next" if second == "no listing" and len(keys) > 1000 else "")

        s3.rules.append(rule)
        assert [info.key for info in s3.store().list("packs/")] == sorted(s3.objects)

    def test_a_store_that_can_not_list_more_than_a_page_is_refused(self, s3: Any) -> None:
        s3.objects.update({f"packs/{number:04}": b"" for number in range(1500)})
        s3.rules.append(lambda _: s3.listing(sorted(s3.objects)[:1000]))
        with pytest.raises(StoreError, match="first 1000 keys"):
            list(s3.store().list("packs/"))

    def test_a_listing_out_of_order_is_refused(self, s3: Any) -> None:
        s3.objects.update({"packs/1": b"", "packs/2": b""})
        s3.rules.append(lambda _: s3.listing(["packs/2", "packs/1"]))
        with pytest.raises(StoreError, match="out of order"):
            list(s3.store().list("packs/"))


class TestRequests:
    def test_what_is_larger_than_any_object_of_ours_is_not_fetched(self, s3: Any, reply: Any) -> None:
        dates = {"last-modified": "Sun, 22 Nov 2026 10:00:00 GMT", "etag": '"e"'}
        s3.rules.append(lambda _: reply(200, b"x", {**dates, "content-length": str(1 << 40), "connection": "close"}))
        with pytest.raises(StoreError, match="too large"):
            s3.store(retries=0, first_retries=0).get("seedcorn.json")

    def test_what_is_not_a_key_of_ours_is_left_out_of_listings(self, s3: Any) -> None:
        """Consoles make an empty object for each folder, people put notes beside."""
        s3.objects.update(dict.fromkeys(["packs/", "packs/1", "packs/README.txt", "packs/a note", "packs/" + "x" * 500], b""))
        s3.rules.append(lambda asked: s3.listing([*sorted(s3.objects), "snapshots/1"]) if asked.query["prefix"] == ["packs/"] else None)
        s3.objects["snapshots/1"] = b""
        assert [info.key for info in s3.store().list("packs/")] == ["packs/1"]

    def test_a_store_that_ignores_ranges_is_asked_for_one_only_once(self, s3: Any) -> None:
        s3.objects["packs/1"] = b"0123456789"  # the scripted server always sends 200 and everything
        store = s3.store()
        assert store.get_range("packs/1", 2, 3) == b"234"
        assert store.get_range("packs/1", 5, 5) == b"56789"
        assert [asked.headers.get("range") for asked in s3.asked] == ["bytes=2-4", None, None]

    def test_bulk_deletes_fall_back_to_single_ones(self, s3: Any, error_reply: Any) -> None:
        s3.rules.append(lambda asked: error_reply(501, "NotImplemented") if asked.method == "POST" else None)
        s3.objects.update({"packs/1": b"", "packs/2": b"", "kept": b""})
        store = s3.store()
        store.delete(["packs/1", "packs/2", "packs/never"])
        assert set(s3.objects) == {"kept"}
        assert (s3.count("POST"), s3.count("DELETE")) == (3, 3)  # the library repeats a 501 as often as it may
        store.delete(["kept", "packs/1"])
        assert (s3.count("POST"), s3.count("DELETE")) == (3, 5)

    def test_a_bulk_delete_that_fails_for_one_key_says_for_which_and_why(self, s3: Any, reply: Any, error_reply: Any) -> None:
        """The request itself is answered 200."""
        refused = b"<DeleteResult><Error><Key>packs/3</Key><Code>AccessDenied</Code><Message>locked</Message></Error></DeleteResult>"
        store = s3.store()
        store.delete(["packs/0", "packs/1"])  # what the first one brings is looked at otherwise
        s3.objects.update({"packs/1": b"", "packs/2": b"", "packs/3": b""})
        s3.rules.append(lambda asked: reply(200, refused) if asked.method == "POST" else None)
        s3.rules.append(lambda asked: error_reply(403, "AccessDenied") if (asked.method, asked.path) == ("DELETE", "packs/3") else None)
        with pytest.raises(AccessDeniedError) as raised:
            store.delete(["packs/1", "packs/2", "packs/3"])
        assert raised.value.key == "packs/3"
        assert set(s3.objects) == {"packs/3"}

    def test_a_listing_starts_a_little_before_where_it_should(self, s3: Any) -> None:
        """Asked for what follows the name of a folder, SeaweedFS leaves the folder out."""
        s3.objects.update({"snapshots/a1": b"", "snapshots/a2/1": b"", "snapshots/a2/2": b""})
        assert [info.key for info in s3.store().list("snapshots/", after="snapshots/a2")] == ["snapshots/a2/1", "snapshots/a2/2"]
        assert s3.asked[-1].query["start-after"] == ["snapshots/a1z"]

    def test_nothing_of_the_environment_is_mixed_into_given_keys(self, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            monkeypatch.setenv(name, "OF-THE-ENVIRONMENT")
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
        monkeypatch.setenv("AWS_REGION", "mars-north-1")
        s3.store().put("one", b"1")
        (asked,) = s3.asked
        assert "Credential=AKIDEXAMPLE/" in asked.headers["authorization"]
        assert "/us-east-1/" in asked.headers["authorization"]
        assert "x-amz-security-token" not in asked.headers

    def test_a_proxy_is_taken_from_the_environment(self, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        s3.objects["one"] = b"1"
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert s3.store().get("one") == b"1"
        monkeypatch.delenv("NO_PROXY")
        with pytest.raises(StoreUnavailableError, match="PROXY"):
            s3.store(first_retries=0).get("one")

    def test_a_session_token_is_sent(self, s3: Any) -> None:
        keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "the-token", "AWS_REGION": "eu-central-1"}
        open_store(f"s3:{s3.endpoint}/bucket/a/prefix", credentials=keys, options=StoreOptions()).put("one", b"1")
        assert s3.asked[0].headers["x-amz-security-token"] == "the-token"
        assert s3.asked[0].path == "a/prefix/one"

    def test_payloads_are_signed_over_http_even_if_unsigned_ones_were_asked_for(self, s3: Any) -> None:
        s3.store(unsigned_payload=True).put("one", b"1")
        assert len(s3.asked[0].headers["x-amz-content-sha256"]) == 64

    def test_google_gets_its_own_condition(self, s3: Any) -> None:
        """Google Cloud Storage itself was never met: this pins the requests only."""
        keys = {"GOOGLE_BASE_URL": s3.endpoint, "GOOGLE_BEARER_TOKEN": "token"}
        store = open_store("gs://bucket/prefix", credentials=keys, options=StoreOptions(first_retries=0))
        store.put("packs/1", b"x")
        assert s3.asked[0].headers["x-goog-if-generation-match"] == "0"
        assert s3.objects == {"prefix/packs/1": b"x"}

    def test_a_forked_child_is_told_instead_of_hanging(self, s3: Any) -> None:
        store = s3.store()
        store.put("one", b"1")
        child = os.fork()
        if child == 0:
            signal.alarm(5)  # ends a child that hangs
            try:
                store.head("one")
            except StoreError as error:
                os._exit(7 if "fork" in str(error) else 8)
            os._exit(9)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


class TestTls:
    def test_an_unknown_certificate_is_refused(self, s3_over_tls: Any) -> None:
        with pytest.raises(StoreError, match="not trusted: give its CA certificate"):
            s3_over_tls.store(first_retries=0).put("one", b"1")
        assert s3_over_tls.asked == []

    def test_the_users_own_authority_is_trusted(self, s3_over_tls: Any, own_certificate: Path) -> None:
        keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_CA_BUNDLE": str(own_certificate)}
        store = open_store(f"s3:{s3_over_tls.endpoint}/bucket", credentials=keys, options=StoreOptions(first_retries=0))
        store.put("one", b"1")
        assert store.get("one") == b"1"

    @pytest.mark.parametrize("unsigned", [False, True])
    def test_hashing_the_payload_can_be_left_to_tls(self, s3_over_tls: Any, own_certificate: Path, unsigned: bool) -> None:
        s3_over_tls.store(ca_certificate=own_certificate.read_bytes(), unsigned_payload=unsigned).put("one", b"1")
        assert (s3_over_tls.asked[0].headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD") is unsigned
