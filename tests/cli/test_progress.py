import io

from rich.console import Console

from mftn.cli.progress import progress_bar, progress_bars


def test_a_terminal_sees_the_count_and_a_pipe_sees_nothing() -> None:
    for terminal in (True, False):
        shown = io.StringIO()
        console = Console(file=shown, force_terminal=terminal, width=80)
        with progress_bar("images", 12, console) as advance:
            advance(5)
            advance(2)
        assert ("images" in shown.getvalue() and "7/12" in shown.getvalue()) == terminal
        if not terminal:
            assert not shown.getvalue()


def test_bars_without_a_console_draw_on_stderr() -> None:
    assert progress_bars().console.stderr
