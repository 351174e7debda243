"""Several hosts in one URL: what is taken, what is refused, and the same on every Python there is."""

import shutil
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.redis.addresses import addresses, split
from tests.support.processes import ROOT

TAKEN = [
    ("h", [("h", 7)]),
    ("H-1.Example_x:1", [("h-1.example_x", 1)]),
    ("h:", [("h", 7)]),
    ("10.0.0.1:65535,10.0.0.2", [("10.0.0.1", 65_535), ("10.0.0.2", 7)]),
    ("[::1]", [("::1", 7)]),
    ("h:1,[::1]:2", [("h", 1), ("::1", 2)]),
    ("[::1]:2,h:1", [("::1", 2), ("h", 1)]),
    (
        "[2001:DB8::1],[fe80::1%eth0]:3,[::ffff:10.0.0.1]:4",
        [("2001:db8::1", 7), ("fe80::1%eth0", 3), ("::ffff:10.0.0.1", 4)],
    ),
]
REFUSED = ["", ",", "h,", ",h", "h,,h", "h:0", "h:65536", "h:99999", "h:123456", "h:-1", "h:+1", "h: 1", "h:1:2", "h:x"]
REFUSED += ["[::1", "::1]", "::1", "[::1]x", "x[::1]", "[]", "[h]", "[1.2.3.4]", "[::1]]", "[[::1]]", "[::1][::2]"]
REFUSED += ["[v1.x]", "[::1%]", "h h", " h", "h\n", "h/", "h@h", "ho\u2100st", "h\u0660", "h:\u0661", "*", "h;h", "%68"]


@pytest.mark.parametrize(("hosts", "expected"), TAKEN)
def test_what_is_taken(hosts: str, expected: list[tuple[str, int]]) -> None:
    """Names, IPv4 and bracketed IPv6 addresses in any order, each with a port or the default one."""
    assert addresses(hosts, 7) == expected


@pytest.mark.parametrize("hosts", REFUSED)
def test_what_is_refused(hosts: str) -> None:
    """Anything else, in words that show nothing of it."""
    with pytest.raises(ValueError, match=r"^not (host:port|an IPv6 address in brackets)$") as caught:
        addresses(hosts, 7)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("rest", "parts"),
    [
        ("u:p@h:1,[::1]:2/name/5?a=b#c", ("u:p", "h:1,[::1]:2", "/name/5", "a=b")),
        ("h", ("", "h", "", "")),
        (":p@ss@h", (":p@ss", "h", "", "")),
        ("u:[@h?x", ("u:[", "h", "", "x")),
        ("/run/a.sock?db=2", ("", "", "/run/a.sock", "db=2")),
        ("h/a\nb?c\nd#e\nf", ("", "h", "/a\nb", "c\nd")),
        ("", ("", "", "", "")),
    ],
)
def test_the_parts_of_a_url(rest: str, parts: tuple[str, str, str, str]) -> None:
    """Credentials up to the last @, hosts up to the path, the query without the fragment."""
    assert split(rest) == parts


@given(st.text() | st.text(alphabet="h1:[],@/?#%.-"))
def test_any_text(text: str) -> None:
    """Whatever the text, it is taken or refused; what is taken can be written down and read again."""
    parts = split(text)
    try:
        found = addresses(parts.hosts, 7)
    except ValueError:
        return
    written = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in found)
    assert addresses(written, 1) == found


def runs(python: str) -> bool:
    """Whether it is no stand-in of a version manager for one that is not chosen."""
    return not subprocess.run([python, "--version"], check=False, capture_output=True).returncode


def test_every_python_reads_the_same() -> None:
    """All interpreters on this machine agree."""
    script = f"""if True:
        import sys
        from state.redis.addresses import addresses
        taken = [addresses(hosts, 7) for hosts, _ in {TAKEN!r}]
        if taken != [expected for _, expected in {TAKEN!r}]:
            sys.exit(repr(taken))
        for hosts in {REFUSED!r}:
            try:
                sys.exit(repr((hosts, addresses(hosts, 7))))
            except ValueError:
                pass
    """
    found = {shutil.which(f"python3.{minor}") for minor in range(11, 16)}
    for python in [sys.executable, *(python for python in sorted(filter(None, found)) if runs(python))]:
        subprocess.run([python, "-c", script], cwd=ROOT, check=True, timeout=300)
