"""Reading from the hub: where the token goes, what is waited for and for how long, what ends it at once."""

import email.utils
import socket
import threading

import pytest

from runtime.tools.hub import FileStream, GaveUp, Hub, IngestError, Patience, origin
from tests.runtime.hubs import TOKEN, Time, serving


@pytest.fixture
def hub():
    with serving() as server:
        yield server


def get(server, path="/f", *, clock=None, token=TOKEN, seconds=3600.0):
    with (clock or Time()).hub(server.address, token=token, seconds=seconds).open(f"{server.address}{path}", "f") as it:
        return it.read()


def test_the_token_never_reaches_the_host_that_the_hub_redirects_to_nor_does_it_come_back(hub):
    with serving() as storage:
        hub.script["/f"] = [(302, {"Location": f"{storage.address}/blob?signature=s"}, b"")]
        storage.script["/blob"] = [(302, {"Location": f"{hub.address}/again"}, b"")]
        hub.script["/again"] = [(200, {}, b"bytes")]
        assert get(hub) == b"bytes"
        assert storage.seen == [("/blob?signature=s", None, None)]
        assert hub.seen == [("/f", f"Bearer {TOKEN}", None), ("/again", None, None)]


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_within_the_hub_keeps_the_token(hub, code):
    hub.script["/f"], hub.script["/g"] = [(code, {"Location": "/g"}, b"")], [(200, {}, b"bytes")]
    assert get(hub) == b"bytes"
    assert [token for _, token, _ in hub.seen] == [f"Bearer {TOKEN}"] * 2


def test_another_name_of_the_same_machine_is_another_host(hub):
    hub.script["/f"] = [(302, {"Location": f"http://localhost:{hub.server_port}/g"}, b"")]
    hub.script["/g"] = [(200, {}, b"bytes")]
    assert get(hub) == b"bytes"
    assert hub.seen[1] == ("/g", None, None)


def test_an_address_that_is_not_the_hubs_is_opened_without_the_token(hub):
    with serving() as other:
        other.script["/f"] = [(200, {}, b"bytes")]
        with Time().hub(hub.address, token=TOKEN).open(f"{other.address}/f", "f") as answer:
            assert answer.read() == b"bytes"
        assert other.seen == [("/f", None, None)]


@pytest.mark.parametrize("location", ["http://hub.example/g", "ftp://hub.example/g"])
def test_a_redirect_from_https_to_anything_else_is_refused_before_it_is_followed(location):
    handler = Hub(Patience(1.0), endpoint="https://hub.example", token=TOKEN)._opener
    (redirects,) = [one for one in handler.handlers if hasattr(one, "redirect_request")]
    from urllib.request import Request

    request = Request("https://hub.example/f?signature=s", headers={"Authorization": f"Bearer {TOKEN}"})
    with pytest.raises(Exception, match=r"^https://hub.example/f: https://hub.example redirects to \w+://hub") as error:
        redirects.redirect_request(request, None, 302, "", {}, location)
    assert "signature" not in str(error.value)
    assert redirects.redirect_request(request, None, 302, "", {}, "https://cdn.example/g").headers == {}
    assert redirects.redirect_request(request, None, 302, "", {}, "https://hub.example:8443/g").headers == {}
    kept = redirects.redirect_request(request, None, 302, "", {}, "https://HUB.example:443/g")
    assert kept.headers == {"Authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize("location", ["/f", "ftp://127.0.0.1/f", "http://127.0.0.1:port/"])
def test_a_redirect_that_leads_nowhere_ends_in_one_line(hub, location):
    hub.script["/f"] = [("always", (302, {"Location": location}, b""))]
    with pytest.raises(IngestError, match=r"redirects|cannot be read") as error:
        get(hub)
    assert len(hub.seen) <= 11
    assert "\n" not in str(error.value)


def test_a_row_of_new_addresses_without_end_is_cut(hub):
    for number in range(30):
        hub.script[f"/f{number}"] = [(302, {"Location": f"/f{number + 1}"}, b"")]
    with pytest.raises(IngestError, match=r"/f0: redirects in a circle, too often or nowhere \(302\); limit: 10"):
        get(hub, "/f0")
    assert len(hub.seen) == 11


@pytest.mark.parametrize(
    ("code", "token", "line"),
    [
        (
            401,
            "",
            r"/f: no access without HF_TOKEN, or no such model \(401\); hint: accept the licence .* hubSecretArn",
        ),
        (403, TOKEN, r"/f: no access, the account of HF_TOKEN may not read it \(403\); hint: accept the licence"),
        (404, TOKEN, r"/f: no such model, revision or file \(404\); hint: check model and revision \(a commit"),
        (400, TOKEN, r"/f: refused \(400\)"),
    ],
)
def test_a_refusal_is_final_and_says_the_way_out(hub, code, token, line):
    hub.script["/f"] = [("always", (code, {}, b""))]
    clock = Time()
    with pytest.raises(IngestError, match=line) as error:
        get(hub, clock=clock, token=token)
    assert (len(hub.seen), clock.slept, TOKEN in str(error.value)) == (1, [], False)


def test_a_refusal_of_the_storage_is_not_taken_for_one_of_the_hub(hub):
    with serving() as storage:
        hub.script["/f"] = [(302, {"Location": f"{storage.address}/blob?signature=s"}, b"")]
        storage.script["/blob"] = [(403, {}, b"")]
        with pytest.raises(IngestError, match=r"/f: refused by 127.0.0.1, where the hub keeps it \(403\)") as error:
            get(hub)
    assert "signature" not in str(error.value)


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_what_passes_is_waited_for_and_each_wait_is_one_line(hub, code):
    hub.script["/f"] = [(code, {}, b"")] * 3 + [(200, {}, b"bytes")]
    clock = Time()
    assert get(hub, clock=clock) == b"bytes"
    assert [low <= waited <= 2 * low for low, waited in zip((0.5, 1, 2), clock.slept, strict=True)] == [True] * 3
    assert clock.lines[0].startswith(f"f: {'too many requests' if code == 429 else 'not now'} ({code}); waiting ")
    assert clock.lines[2].endswith(f"s (try 3), given up in {3600 - sum(clock.slept[:2]):.0f} s")


def test_the_hub_says_how_long_to_wait_in_seconds_or_as_a_date(hub):
    clock = Time()
    date = email.utils.formatdate(clock.now + 120 + 90, usegmt=True)
    hub.script["/f"] = [(429, {"Retry-After": "120"}, b""), (503, {"Retry-After": date}, b""), (200, {}, b"bytes")]
    assert get(hub, clock=clock) == b"bytes"
    assert clock.slept == [120, 90]
    assert clock.lines[0] == "f: too many requests (429); waiting 120.0 s (as it asks), given up in 3600 s"


@pytest.mark.parametrize("value", ["soon", "-5", "0", "1e999", "nan", "Thu, 01 Jan 1970 00:00:00 GMT", "32 Foo 2026"])
def test_a_wait_that_makes_no_sense_is_that_of_the_first_try(hub, value):
    hub.script["/f"] = [(429, {"Retry-After": value}, b""), (200, {}, b"bytes")]
    clock = Time()
    assert get(hub, clock=clock) == b"bytes"
    assert 0.5 <= clock.slept[0] <= 1


def test_a_hub_that_stays_busy_is_waited_for_until_the_deadline_and_not_longer(hub):
    hub.script["/f"] = [("always", (429, {}, b""))]
    clock = Time()
    with pytest.raises(GaveUp, match=r"^f: too many requests \(429\), and \d+ s more are past the limit of 7200 s"):
        get(hub, clock=clock, seconds=7200.0)
    assert 7200 - 300 <= sum(clock.slept) <= 7200
    assert max(clock.slept) <= 300


def test_a_wait_that_is_longer_than_the_deadline_is_not_begun(hub):
    hub.script["/f"] = [(429, {"Retry-After": "3601"}, b"")]
    clock = Time()
    with pytest.raises(GaveUp, match=r"and 3601 s more are past the limit of 3600 s; hint: run again"):
        get(hub, clock=clock)
    assert clock.slept == []


def test_a_hub_that_never_answered_is_given_up_sooner():
    clock = Time()
    with pytest.raises(
        GaveUp, match=r"not reachable \(Connection refused\).* limit of 600 s; hint: this job needs a way"
    ):
        clock.hub("http://127.0.0.1:1", token=TOKEN, seconds=7200.0).open("http://127.0.0.1:1/f", "f")
    assert sum(clock.slept) <= 600


def test_a_connection_that_is_reset_is_tried_again(hub):
    with socket.create_server(("127.0.0.1", 0)) as rude:

        def hang_up():
            connection, _ = rude.accept()
            connection.recv(1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
            connection, _ = rude.accept()
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbytes")
            connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        address, clock = f"http://127.0.0.1:{rude.getsockname()[1]}", Time()
        with clock.hub(address).open(f"{address}/f", "f") as answer:
            assert answer.read() == b"bytes"
    assert clock.lines[0].startswith("f: not reachable (Connection reset by peer); waiting ")


def test_a_stream_waits_anew_after_each_break_and_is_given_up_at_the_deadline(hub):
    hub.script["/f"] = [(200, {"Content-Length": "10", "Connection": "close"}, b"0123"), ("always", (503, {}, b""))]
    clock = Time()
    stream = FileStream(clock.hub(hub.address, seconds=60.0), f"{hub.address}/f", "f", 10)
    assert stream.read(4) == b"0123"
    with pytest.raises(GaveUp, match=r"^f: not now \(503\)"):
        stream.read(4)
    assert clock.lines[0].startswith("f: broke off at byte 4 (")


@pytest.mark.parametrize("stated", ["bytes 7-9/10", "bytes x", ""])
def test_a_range_that_was_not_asked_for_is_not_taken(hub, stated):
    hub.script["/f"] = [
        (200, {"Content-Length": "10", "Connection": "close"}, b"0123"),
        (206, {"Content-Range": stated, "Connection": "close"}, b"789"),
        (206, {"Content-Range": "bytes 4-9/10", "Connection": "close"}, b"456789"),
    ]
    clock = Time()
    stream = FileStream(clock.hub(hub.address), f"{hub.address}/f", "f", 10)
    assert b"".join(iter(lambda: stream.read(3), b"")) == b"0123456789"


@pytest.mark.parametrize("token", ["hf_a\nX-Other: b", "hf_a b", "hf_\u00e9"])
def test_a_token_that_is_none_is_refused_without_being_shown(token):
    with pytest.raises(IngestError, match=r"^HF_TOKEN: holds signs that no token has") as error:
        Hub(Patience(1.0), endpoint="https://hub.example", token=token)
    assert "hf_" not in str(error.value)


@pytest.mark.parametrize("endpoint", ["file:///etc", "hub.example", "https://user:secret@hub.example", "https://"])
def test_an_endpoint_that_is_no_hub_is_refused_without_being_shown(endpoint):
    with pytest.raises(IngestError, match=r"^HF_ENDPOINT: is no address of a hub") as error:
        Hub(Patience(1.0), endpoint=endpoint, token="")
    assert "secret" not in str(error.value)


def test_an_origin_is_scheme_host_and_port():
    assert origin("https://Hub.example/a") == origin("https://hub.example:443/b")
    assert len({origin(f"{one}hub.example{two}") for one in ("http://", "https://") for two in ("", ":1", ":2")}) == 6
