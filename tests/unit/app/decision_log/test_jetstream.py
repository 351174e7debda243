"""How lines are put into messages, and the loop of a line. tests/service/test_log_stream.py has a real server."""

from app.decision_log.jetstream import _packed, loop_of
from app.decision_log.lines import LONGEST
from tests.unit.app.decision_log.samples import decision, outcome, state


def test_lines_of_one_loop_in_a_message() -> None:
    """In their order, 64 at most."""
    lines = [("a" if number % 3 else "", b"%d" % number) for number in range(200)]
    found = list(_packed(lines))
    assert {subject for subject, _ in found} == {"decisions.a", "decisions._state"}
    for loop, subject in (("a", "decisions.a"), ("", "decisions._state")):
        payloads = [payload.split(b"\n") for name, payload in found if name == subject]
        assert [line for payload in payloads for line in payload] == [line for name, line in lines if name == loop]
        assert [len(payload) for payload in payloads[:-1]] == [64] * (len(payloads) - 1)


def test_no_message_is_too_large() -> None:
    """Line breaks count, too; the longest line has one of its own."""
    sizes = [LONGEST, 1, LONGEST - 1, LONGEST // 2, LONGEST // 2, LONGEST // 2 - 1, LONGEST // 2]
    payloads = [payload for _, payload in _packed([("a", b"x" * size) for size in sizes])]
    assert [len(part) for payload in payloads for part in payload.split(b"\n")] == sizes
    assert max(map(len, payloads)) <= LONGEST
    assert [payload.count(b"\n") for payload in payloads] == [0, 0, 0, 0, 1, 0]


def test_the_loop_of_a_line() -> None:
    """A change of a user belongs to none, a change of a loop to that one."""
    assert [loop_of(line) for line in (decision(), outcome(), state())] == ["tips", "tips", ""]
    assert loop_of(state(what="loop", loop="mail", user="")) == "mail"
