"""What the environment (http_proxy, no_proxy, ...) says of the way to a URL."""

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


def needs_httpx(url: str) -> bool:
    """Say whether `url` is beyond our own transport: https, or behind the environment's proxy."""
    return urlsplit(url).scheme != "http" or proxy_for(url) is not None


def proxy_for(url: str) -> str | None:
    """Return the proxy that the environment (http_proxy, no_proxy, ...) names for `url`; never one for loopback."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in {"localhost", "::1"} or host.startswith("127.") or proxy_bypass(host):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")
