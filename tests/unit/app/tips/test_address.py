"""LITELLM_URL and LITELLM_MASTER_KEY: what they may hold."""

import pytest

from app.settings import Secret, SettingsError
from app.tips.address import base_url, header_safe


@pytest.mark.parametrize("url", ["http://x", "https://x:4000", "http://[::1]:4000", "https://x/proxy/v1"])
def test_url(url: str) -> None:
    """An http(s) URL with a host, with or without a slash at its end."""
    assert base_url(url) == base_url(f"{url}/") == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:4000",
        "http://",
        "ftp://x",
        "http://x:99999",
        "http://a b",
        "redis://x",
        "http://x\n",
        "x" * 99_999,
    ],
)
def test_bad_url(url: str) -> None:
    """Anything else is refused in one line."""
    with pytest.raises(SettingsError, match=r"^LITELLM_URL: takes http://host:port or [^\n]*$"):
        base_url(url)


@pytest.mark.parametrize("url", ["http://u:pw@x", "http://x?key=pw", "http://x#pw"])
def test_url_with_secrets(url: str) -> None:
    """A URL with credentials, a query or a fragment is refused and not shown."""
    with pytest.raises(SettingsError, match=r"^LITELLM_URL: takes no credentials") as caught:
        base_url(url)
    assert "pw" not in str(caught.value)


def test_key_of_a_file() -> None:
    """The line end of a file is not part of the key."""
    assert header_safe(Secret(" sk-1\r\n")).reveal() == "sk-1"
    assert not header_safe(Secret(""))


@pytest.mark.parametrize("key", ["sk-a\nb", "sk-a b", "sk-ü", "a\x00b"])
def test_bad_key(key: str) -> None:
    """A key that a header cannot carry is refused and not shown."""
    with pytest.raises(SettingsError, match=r"^LITELLM_MASTER_KEY: takes printable ASCII without blanks$"):
        header_safe(Secret(key))
