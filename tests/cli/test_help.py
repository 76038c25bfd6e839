"""The help text of every subcommand."""

import re
import shlex
from dataclasses import fields
from importlib import import_module

import pytest

from mftn.cli import SUBCOMMANDS, main
from mftn.cli.options import VideoOptions, parse_options


@pytest.fixture(params=sorted(SUBCOMMANDS))
def help_text(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> str:
    """What `mftn SUBCOMMAND --help` prints."""
    with pytest.raises(SystemExit) as stop:
        main([request.param, "--help"])
    assert not stop.value.code
    return capsys.readouterr().out


def test_defaults_are_readable(help_text: str) -> None:
    assert "{None}" not in help_text
    assert "[[" not in help_text.partition("options")[0]


def test_every_subcommand_takes_the_message_options(help_text: str) -> None:
    for option in ("-q, --quiet", "-v, --verbose", "--log FILE"):
        assert option in help_text


def test_examples_end_the_text_and_are_command_lines_that_parse(help_text: str) -> None:
    examples = help_text.rstrip().rpartition("examples:\n")[2].splitlines()
    assert examples
    for example in examples:
        program, subcommand, *words = shlex.split(example)
        assert program == "mftn"
        module = import_module(f"mftn.cli.{subcommand}")
        if hasattr(module, "parse"):
            module.parse(words)
        else:
            parse_options(module.Arguments, subcommand, module.__doc__, words)


def test_options_of_videos_stand_together(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    _, _, videos = capsys.readouterr().out.partition("video options")
    listed = set(re.findall(r"^│ (--[a-z-]+)", videos.partition("╰")[0], re.MULTILINE))
    assert listed == {f"--{field.name.replace('_', '-')}" for field in fields(VideoOptions)} > {"--fps", "--smooth"}
