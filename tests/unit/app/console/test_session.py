"""A session is known by its cookie, for ten hours, as long as its key is there."""

import pytest

from app.console.session import SECONDS, cookie_of, holder
from app.http.api_keys import Key

SECRET = b"s" * 32
NOW = 1_795_438_044.6
ADMIN = Key("ops", "admin", b"a" * 32)
OTHERS = [Key("ops", "reader", b"b" * 32), Key("phone", "client", b"c" * 32)]  # names may be shared


def test_the_key_is_found_again() -> None:
    """Among others, one of the same name too, until the session is over."""
    cookie = cookie_of(ADMIN, SECRET, NOW)
    assert holder([*OTHERS, ADMIN], SECRET, cookie, NOW) == ADMIN
    assert holder([ADMIN, *OTHERS], SECRET, cookie, NOW + SECONDS - 1) == ADMIN
    assert holder([ADMIN], SECRET, cookie, NOW + SECONDS) is None


@pytest.mark.parametrize(
    "keys",
    [
        [],
        OTHERS,
        [Key("ops", "admin", b"z" * 32)],  # another key of this name
        [Key("ops", "reader", b"a" * 32)],  # the same one, with another role
        [Key("boss", "admin", b"a" * 32)],  # the same one, under another name
    ],
)
def test_a_key_that_is_gone_or_changed_ends_its_sessions(keys: list[Key]) -> None:
    """Whatever of it has changed."""
    assert holder(keys, SECRET, cookie_of(ADMIN, SECRET, NOW), NOW) is None


def test_another_secret() -> None:
    """The digests of all keys are not enough to make a session."""
    assert holder([ADMIN], SECRET, cookie_of(ADMIN, b"t" * 32, NOW), NOW) is None


def test_every_character_counts() -> None:
    """A cookie in which one is another, or that is longer or shorter, is none; nor is one from the future."""
    cookie = cookie_of(ADMIN, SECRET, NOW)
    # The last character of 43 carries two bits of nothing: its others still are not what we wrote.
    forged = [cookie[:n] + ("B" if cookie[n] != "B" else "C") + cookie[n + 1 :] for n in range(len(cookie))]
    for odd in [*forged, "", cookie[:-1], cookie + "A", cookie.replace("~", "."), cookie + "\n", "~" * 5_000]:
        assert holder([ADMIN, *OTHERS], SECRET, odd, NOW) is None, odd
    assert holder([ADMIN], SECRET, cookie_of(ADMIN, SECRET, NOW + 60), NOW) is None
