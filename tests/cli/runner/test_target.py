"""Why a server that is already running cannot be a target, and what to type instead."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from certificates import server_context
from talks import NOT_FOUND, Scripted
from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen.request_options import read_url
from taskdemo_cli.runner.target import running_target


@pytest.mark.parametrize(
    ("kind", "host", "says"),
    [
        ("strange", "localhost", r"not trusted \(self-signed certificate\); .* put SSL_CERT_FILE="),
        ("known", "other.invalid", r"not valid \(Hostname mismatch.*\); name the server as the certificate does"),
        ("choosy", "localhost", r"but the TLS handshake fails \(.*\): it may want .* a certificate of the client"),
        ("plain", "localhost", r"but not in TLS \(.*\); type --url http://localhost:\d+$"),
    ],
    ids=["issuer", "name", "handshake", "plain HTTP"],
)
def test_why_no_tls_connection_is_made_is_told_with_what_helps_against_that(
    kind: str, host: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(NOT_FOUND)

    tls = server_context(tmp_path)
    if kind != "strange":
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    if kind == "choosy":  # with TLS 1.2 a client learns in the handshake that its certificate is wanted
        tls.maximum_version, tls.verify_mode = ssl.TLSVersion.TLSv1_2, ssl.CERT_REQUIRED
    with Scripted(talk, None if kind == "plain" else tls) as server:
        real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", lambda _, port, *__, **___: real("127.0.0.1", port))
        with pytest.raises(UserError, match=says):
            running_target(read_url(f"https://{host}:{server.port}", None), None, named=True)
