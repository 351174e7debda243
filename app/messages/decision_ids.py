"""The id of a decision: what was given or made for it, a dot, and the user it is about."""

import hashlib
import re
from base64 import urlsafe_b64encode
from binascii import a2b_base64, b2a_base64
from string import ascii_letters, digits
from typing import Final

__all__ = ["LOCAL", "decision_id", "made", "made_at", "of_slot", "parsed"]

LOCAL: Final = r"[A-Za-z0-9_~:@-]{1,128}"
_WHOLE: Final = re.compile(rf"(?P<local>{LOCAL})\.(?P<user>[A-Za-z0-9_-]{{2,1400}})")
# What base64 ends with where so many characters are left of groups of four. Others could be read too, and a second
# spelling of the same bytes would be a second id of the same decision.
_ENDS: Final = (ascii_letters + digits + "-_", "", "AQgw", "AEIMQUYcgkosw048")
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL: Final = bytes.maketrans(b"-_", b"+/")
_LONGEST_USER: Final = 256
# Crockford's alphabet, in the order of its values: ids sort by the time at which they were made.
_DIGITS: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS: Final = [one + other for one in _DIGITS for other in _DIGITS]
_TIME_DIGITS: Final = 10
_CHANCE_DIGITS: Final = 13
_MADE: Final = re.compile(f"[{_DIGITS}]{{{_TIME_DIGITS + _CHANCE_DIGITS}}}")


def decision_id(local: str, user_id: str) -> str:
    """The id of the decision `local` of a user."""
    user = b2a_base64(user_id.encode(), newline=False).translate(_TO_URL, b"=").decode()
    return f"{local}.{user}"


def parsed(text: str) -> tuple[str, str] | None:
    """The local id and the user id in a decision's id; None if there can be no such decision."""
    found = _WHOLE.fullmatch(text)
    if found is None:
        return None
    local, user = found.groups()
    if user[-1] not in _ENDS[len(user) % 4]:
        return None
    try:
        user_id = a2b_base64(user.encode().translate(_FROM_URL) + b"==").decode()
    except UnicodeDecodeError:
        return None
    return (local, user_id) if len(user_id) <= _LONGEST_USER else None


def made(now: int, chance: int) -> str:
    """A local id for a decision at `now` (ms), with 64 bits of `chance`; later ones sort after earlier ones."""
    # Written out: in a loop it takes five times as long.
    early, late = chance >> 30, chance & 0x3FFFFFFF
    return (
        f"{_PAIRS[now >> 40 & 1023]}{_PAIRS[now >> 30 & 1023]}{_PAIRS[now >> 20 & 1023]}{_PAIRS[now >> 10 & 1023]}"
        f"{_PAIRS[now & 1023]}{_DIGITS[early >> 30 & 31]}{_PAIRS[early >> 20 & 1023]}{_PAIRS[early >> 10 & 1023]}"
        f"{_PAIRS[early & 1023]}{_PAIRS[late >> 20]}{_PAIRS[late >> 10 & 1023]}{_PAIRS[late & 1023]}"
    )


def of_slot(local: str, slot: str) -> str:
    """The local id of the decision for a slot, whose id may be any text, of the request with the id `local`."""
    return urlsafe_b64encode(hashlib.sha256(f"{local}\n{slot}".encode()).digest()).decode().rstrip("=")


def made_at(local: str) -> int | None:
    """The moment (ms) of a local id that `made` has made; None for one of a client."""
    if not _MADE.fullmatch(local):
        return None
    moment = 0
    for digit in local[:_TIME_DIGITS]:
        moment = 32 * moment + _DIGITS.index(digit)
    return moment
