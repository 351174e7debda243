"""Erasing asks a person, and only a yes is one."""

from collections.abc import Callable

import pytest

from app.commands.erase import ask


def answers(answer: str | type[BaseException]) -> Callable[[str], str]:
    def input_(question: str) -> str:
        assert "'ann'" in question
        if isinstance(answer, str):
            return answer
        raise answer

    return input_


@pytest.mark.parametrize(
    ("answer", "code"),
    [("y", 0), (" Yes ", 0), ("", 1), ("n", 1), ("yy", 1), (EOFError, 1), (KeyboardInterrupt, 130)],
)
def test_ask(
    answer: str | type[BaseException],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Anything but y or yes, the end of the input and Ctrl-C are a no, and that is said."""
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", answers(answer))
    assert ask("ann") == code
    assert capsys.readouterr().err.endswith("nothing was removed\n" if code else "")


def test_without_a_terminal_there_is_no_yes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script must say --yes: nothing reads its input."""
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    monkeypatch.setattr("builtins.input", answers("y"))
    assert ask("ann") == 2
    assert "--yes" in capsys.readouterr().err
