"""What comes over the wire from whoever knows no better, or means no good: the server goes on serving."""

import contextlib
import json
import socket
from contextlib import ExitStack

import httpx
import pytest

from servers import RunningServer, Start
from waiting import until

HEAD = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n"


def say(server: RunningServer, data: bytes, within: float = 0.2) -> bytes:
    """Send this, and return what comes until the server hangs up, or answers nothing more for a moment."""
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        with contextlib.suppress(OSError):  # It may hang up before all was sent.
            connection.sendall(data)
        connection.settimeout(within)
        with contextlib.suppress(OSError):
            while piece := connection.recv(1 << 16):
                received += piece
    return received


def serves(server: RunningServer) -> bool:
    return httpx.get(f"{server.url}/ping", timeout=60, trust_env=False).text == '{"message":"pong"}'


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0" * 1000,
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"\xff" * 500,  # TLS
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /tasks/\x1b[31m HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        HEAD,
    ],
)
def test_garbage_is_answered_with_400_or_not_at_all_and_the_next_is_served(
    shared_server: RunningServer, garbage: bytes
) -> None:
    answer = say(shared_server, garbage)
    assert b" 500 " not in answer.partition(b"\r\n")[0]
    assert b"Traceback" not in answer
    assert b"\x1b" not in answer
    assert serves(shared_server)
    assert "Traceback" not in shared_server.complained
    assert all(each.isprintable() for each in shared_server.complained.splitlines())


def test_two_hundred_who_say_nothing_or_half_a_request_keep_nobody_from_being_served(start_server: Start) -> None:
    server = start_server(duration=0)
    with ExitStack() as stack:
        for number in range(200):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            connection.sendall(HEAD[: number % len(HEAD)])
        for _ in range(20):
            assert server.get().status_code == 200
        server.ended(20)
        # And they hold up no end either.
        server.signal(15)
        assert server.wait() == 0


@pytest.mark.parametrize(
    "query",
    [
        b"message=%ff%fe%80",
        b"message=%00%1b%5b31m%e2%80%ae%3cscript%3e%5bred%5d",
        b"message=%ed%a0%80",  # a lone surrogate
        b"message=%F0%9F%92",  # half a character
        b"message=a&message=b&%00=%ff",
        b"message=%zz%",
        b"&&==&message",
        b"message=" + b"%c3%a4" * 4096,
    ],
)
def test_whatever_bytes_a_message_has_its_task_ends_and_shows_only_visible_text(
    shared_server: RunningServer, query: bytes
) -> None:
    shown = len(shared_server.printed.splitlines())
    answer = say(shared_server, b"GET /?" + query + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 60)
    assert answer.startswith(b"HTTP/1.1 200"), answer
    task_id = answer.partition(b"x-task-id: ")[2][:16].decode()
    until(lambda: shared_server.states(task_id) == ["accepted", "started", "finished"])
    task = shared_server.get(f"/tasks/{task_id}").json()
    assert task["state"] == "finished"
    until(lambda: len(shared_server.printed.splitlines()) > shown)
    assert all(each.isprintable() for each in shared_server.printed.split("\n"))


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "localhost:1"},
        {"Host": "[::1]:1"},
        {"Host": "127.0.0.1:1", "Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_whoever_asks_by_our_own_name_is_answered(shared_server: RunningServer, headers: dict[str, str]) -> None:
    assert shared_server.get(headers=headers).status_code == 200


@pytest.mark.parametrize("method", ["DELETE", "GET"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "attacker.example"},
        {"Host": "127.0.0.1.attacker.example"},
        {"Host": "localhost.attacker.example:80"},
        {"Host": "attacker.example:127"},
        {"Host": "[::1].attacker.example"},
        {"Host": ""},
        {"Origin": "http://attacker.example"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=lambda headers: " ".join(f"{name}={value}" for name, value in headers.items()),
)
def test_a_page_in_a_browser_can_neither_start_a_task_nor_end_one(
    shared_server: RunningServer, method: str, headers: dict[str, str]
) -> None:
    accepted = shared_server.states().count("accepted")
    task_id = shared_server.get().headers["X-Task-ID"]
    for path in ("/", f"/tasks/{task_id}", "/tasks", "/events", "/openapi.json"):
        answer = shared_server.client.request(method, path, headers=headers)
        assert answer.status_code == 403
        assert answer.json()["detail"].endswith(".")
        assert "access-control-allow-origin" not in answer.headers
    assert shared_server.states().count("accepted") == accepted + 1


def test_beyond_loopback_it_warns_makes_a_token_and_only_the_demonstration_needs_none(start_server: Start) -> None:
    server = start_server(host="0.0.0.0", duration=0)
    assert server.complained.startswith(f"Other machines reach it on port {server.port}:")
    token = json.loads((server.folder / "announce").read_text())["token"]
    assert f"--token {token}" in until(lambda: server.printed)
    task_id = server.get().headers["X-Task-ID"]
    assert server.get("/ping/sync").status_code == 200
    for path in ("/health", "/tasks", f"/tasks/{task_id}", "/events", "/docs", "/openapi.json", "/redoc", "/nothing"):
        for given in ("", f"Bearer {token[:-1]}", token, f"Bearer {token.swapcase()}"):
            assert server.get(path, headers={"Authorization": given}).status_code == 401, path
        assert server.get(path).status_code == 401, path
    assert server.client.delete(f"/tasks/{task_id}").status_code == 401
    assert server.client.post("/events").status_code == 401
    assert server.get("/tasks", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert token not in server.complained
