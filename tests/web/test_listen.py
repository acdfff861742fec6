"""Listen addresses."""

import socket
import urllib.parse
from contextlib import closing

import pytest

from exporter.web.listen import ListenError, address_of, bind, parse_listen_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (":9851", "", 9851),
        (":0", "", 0),
        ("127.0.0.1:9851", "127.0.0.1", 9851),
        ("localhost:80", "localhost", 80),
        ("[::1]:9851", "::1", 9851),
        ("[::]:65535", "::", 65535),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    assert parse_listen_address(text) == (host, port)


@pytest.mark.parametrize("text", ["", "9851", "localhost", "::1:9851", ":", ":http", ":-1", ":65536", ":٣", "a:1:2"])
def test_anything_else_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not HOST:PORT|in brackets"):
        parse_listen_address(text)


def test_a_taken_address_is_named() -> None:
    with closing(bind("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        with pytest.raises(ListenError, match=rf"^cannot listen on 127\.0\.0\.1:{port}: Address already in use$"):
            bind("127.0.0.1", port)


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(ListenError, match=r"^cannot listen on 192\.0\.2\.1:9851: "):
        bind("192.0.2.1", 9851)


def test_a_name_that_does_not_resolve_is_named() -> None:
    with pytest.raises(ListenError, match=r"^cannot listen on nowhere\.invalid:9851: "):
        bind("nowhere.invalid", 9851)


def test_all_interfaces_take_ipv4_and_where_there_is_any_ipv6() -> None:
    with closing(bind("", 0)) as listener:
        port = listener.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), timeout=50).close()
        if has_ipv6():
            socket.create_connection(("::1", port), timeout=50).close()


def test_all_interfaces_taken_by_another_program_are_not_shared() -> None:
    with closing(bind("", 0)) as first, pytest.raises(ListenError, match="Address already in use"):
        bind("", first.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", ""])
def test_the_address_can_be_used_in_a_url(host: str) -> None:
    if host == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    with closing(bind(host, 0)) as listener:
        url = urllib.parse.urlsplit(f"http://{address_of(listener)}/")
        assert url.port == listener.getsockname()[1]
        socket.create_connection((url.hostname, url.port), timeout=50).close()


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False
