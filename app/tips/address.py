"""What LITELLM_URL and LITELLM_MASTER_KEY may hold."""

import httpx

from app.settings import Secret, SettingsError

__all__ = ["base_url", "header_safe"]


def base_url(url: str) -> str:
    """`url` without a slash at its end; raises SettingsError unless it is http(s) with a host and without secrets."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        parts = httpx.URL()
    if parts.scheme not in ("http", "https") or not parts.host or "%" in parts.host or (parts.port or 1) > 65_535:
        raise SettingsError(
            "LITELLM_URL: takes http://host:port or https://host:port, with a path if the proxy has one"
        )
    if parts.userinfo or parts.query or parts.fragment:
        raise SettingsError(
            "LITELLM_URL: takes no credentials, query or fragment; the key goes into LITELLM_MASTER_KEY"
        )
    return url.rstrip("/")


def header_safe(key: Secret) -> Secret:
    """`key` without the line end of a mounted file; raises SettingsError if a header cannot carry it."""
    text = key.reveal().strip()
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise SettingsError("LITELLM_MASTER_KEY: takes printable ASCII without blanks")
    return Secret(text)
