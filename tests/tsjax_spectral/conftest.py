"""The command, run in this process."""

from __future__ import annotations

import sys

import pytest

from tsjax_core import cli


@pytest.fixture
def tsjax(monkeypatch, capsys):
    """Run the command in this process; return exit status, standard output and error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tsjax", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        out = capsys.readouterr()
        print(out.out, out.err, sep="\n")
        code = left.value.code
        return (code if isinstance(code, int) else 0), out.out, out.err

    return run
