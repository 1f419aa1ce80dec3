"""Where an upstream server is and how it is reached: its URL, TLS, and the proxy that the environment names."""

import os
import ssl
from dataclasses import dataclass
from urllib.request import getproxies_environment, proxy_bypass

import aiohttp
import httpx
from yarl import URL

from serving.models.upstream_errors import reason
from storage.errors import ConfigurationError
from streams.health import is_loopback

PROXY_AND_CA_VARS = ("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


@dataclass(frozen=True)
class UpstreamAddress:
    """Where requests to an upstream go.

    Attributes
    ----------
    url : with the path, without credentials
    shown : the same without its query, for messages
    authorization : the ``Authorization`` header that the URL's credentials make
    tls : its context; True for plain HTTP
    proxy, proxy_authorization : the proxy to use, and its ``Proxy-Authorization`` header
    """

    url: URL
    shown: str
    authorization: str | None
    tls: ssl.SSLContext | bool
    proxy: URL | None
    proxy_authorization: str | None

    @classmethod
    def of(cls, url: str, section: str) -> "UpstreamAddress":
        """The address that ``url`` of ``[section]`` and the environment give; raises ``ConfigurationError``."""
        parsed = _parsed(url, section)
        try:
            authorization = aiohttp.encode_basic_auth(parsed.username, parsed.password) if parsed.userinfo else None
            plain = URL(str(parsed.copy_with(userinfo=b"")), encoded=True)
        except ValueError as error:
            raise _not_a_url(section) from error
        remote = not is_loopback(parsed.host)  # proxies and CAs from the environment apply to other hosts only
        try:
            tls = httpx.create_ssl_context(trust_env=remote) if parsed.scheme == "https" else True
            proxy, proxy_authorization = proxy_for(plain) if remote else (None, None)
        except (OSError, ValueError) as error:
            named = [name for name in PROXY_AND_CA_VARS if os.environ.get(name)]
            raise ConfigurationError(
                f"the CA or proxy settings in {', '.join(named) or 'the environment'} cannot be used for the upstream"
                f" ({reason(error)}); correct or unset it"
            ) from error
        shown = str(parsed.copy_with(userinfo=b"", query=None))
        return cls(plain, shown, authorization, tls, proxy, proxy_authorization)


def proxy_for(url: URL) -> tuple[URL | None, str | None]:
    """The proxy for ``url`` that the environment names, and its ``Proxy-Authorization``; aiohttp itself does not read ``ALL_PROXY``."""
    named = getproxies_environment()
    proxy = named.get(url.scheme) or named.get("all")
    if not proxy or proxy_bypass(url.host or "") or proxy_bypass(f"{url.host}:{url.port}"):
        return None, None
    found = URL(proxy if "://" in proxy else f"http://{proxy}")
    if found.scheme not in ("http", "https") or not found.host:
        raise ValueError("not a proxy of HTTP")
    authorization = aiohttp.encode_basic_auth(found.user or "", found.password or "") if found.user or found.password else None
    return found.with_user(None), authorization


def _parsed(url: str, section: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
        parsed.host.encode("idna")
    except (httpx.InvalidURL, UnicodeError) as error:
        raise _not_a_url(section) from error
    if parsed.scheme not in ("http", "https") or not parsed.host or not 0 < (parsed.port or 80) < 65536:
        raise _not_a_url(section)
    return parsed


def _not_a_url(section: str) -> ConfigurationError:
    return ConfigurationError(f"url in [{section}] is not a URL; use the form https://host/v1")
