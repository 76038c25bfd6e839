import io

import pytest

from mftn.cli.messages import configure_messages, messages
from mftn.cli.options import Messages
from mftn.cli.progress import progress_bar


class Stream(io.StringIO):
    """Standard error that is a terminal or not."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(
    ("terminal", "quiet", "seen"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_a_terminal_sees_the_count_unless_it_asks_for_quiet(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, quiet: bool, seen: bool
) -> None:
    shown = Stream(terminal)
    monkeypatch.setattr("sys.stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    with messages():
        configure_messages(Messages(quiet=quiet), ["predict"])
        with progress_bar("images of [/a]", 12) as advance:
            advance(5)
            advance(2)
    assert ("images of [/a]" in shown.getvalue() and "7/12" in shown.getvalue()) == seen
    assert seen or not shown.getvalue()
