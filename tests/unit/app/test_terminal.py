"""What commands write does nothing to a terminal, and they reach only a Redis that others reach too."""

import msgspec
import pytest

from app.settings import Secret, Settings, SettingsError
from app.terminal import complain, connected, environment, plain, progress_bar, say, wide_console


def test_nothing_controls_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Escapes and line ends are shown as such, in results and in complaints."""
    assert plain("zoë\x1b[2J\n") == "zoë\\x1b[2J\\x0a"
    say("a\x1b")
    assert complain("b\r", 3) == 3
    assert capsys.readouterr() == ("a\\x1b\n", "b\\x0d\n")


def test_no_bar_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A log or a pipe gets no progress bar."""
    with progress_bar() as progress:
        progress.advance(progress.add_task("export", total=2))
    assert capsys.readouterr() == ("", "")


def test_no_line_is_broken_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe gets long lines whole, and no colours."""
    wide_console().print("x" * 500, style="bold")
    assert capsys.readouterr().out == "x" * 500 + "\n"


def test_variables_are_told_as_the_settings_say() -> None:
    """With default and meaning; of REDIS_URL also that its default is of no use to a command."""
    title, *rows = environment(("PORT", "REDIS_URL")).splitlines()
    assert title == "environment, as the service has it (default):"
    assert rows[:3] == ["  PORT (8000)", "      port to listen on", "  REDIS_URL (memory://)"]
    assert rows[-1].endswith("memory:// (in this process only); no command reaches that")
    assert environment(()) == ""


@pytest.mark.anyio
async def test_the_embedded_store_is_refused_unless_asked_for() -> None:
    """memory:// would be a new, empty store; a wrong URL is a setting, too."""
    settings = Settings()
    with pytest.raises(SettingsError, match="REDIS_URL is memory://"):
        async with connected(settings):
            pass
    async with connected(settings, embedded=True) as servers:
        assert servers.spans_users
    wrong = msgspec.structs.replace(settings, redis_url=Secret("http://here"))
    with pytest.raises(SettingsError, match="REDIS_URL: "):
        async with connected(wrong):
            pass
