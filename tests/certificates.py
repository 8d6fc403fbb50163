"""A certificate for `localhost`, 127.0.0.1 and `taskdemo.invalid` that nobody trusts but who is told to."""

import shutil
import ssl
import subprocess
from pathlib import Path

from parts import without


def server_context(folder: Path) -> ssl.SSLContext:
    """Make `certificate.pem` in the folder, and return what a server needs to be the one it names."""
    if shutil.which("openssl") is None:
        without("openssl, which makes a certificate")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,DNS:taskdemo.invalid,IP:127.0.0.1"]
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*new, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
