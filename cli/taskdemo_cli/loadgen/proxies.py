"""What the environment (http_proxy, no_proxy, ...) says of the way to a URL."""

from dataclasses import replace
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen.request import ParsedUrl, read_url


def proxy_for(url: str) -> str | None:
    """Return the proxy that the environment (http_proxy, no_proxy, ...) names for `url`; never one for loopback."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in {"localhost", "::1"} or host.startswith("127.") or proxy_bypass(host):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


def read_proxy(url: str) -> ParsedUrl | None:
    """Return it, read, with the headers by which it knows who asks. Raises UserError where it is no HTTP proxy."""
    if (text := proxy_for(url)) is None:
        return None
    try:
        place = read_url(text, None)
    except UserError:
        scheme = urlsplit(url).scheme
        raise UserError(
            f"the proxy that the environment names for {scheme} is no HTTP proxy; "
            f"set {scheme}_proxy=http://HOST:PORT, or no_proxy={urlsplit(url).hostname}"
        ) from None
    return replace(place, headers=tuple((f"Proxy-{name}", value) for name, value in place.headers))
