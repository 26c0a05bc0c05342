"""The benchmarks: commands, help, reports, and what they say when something is missing."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
EXPERIMENT = """\
[data]
dataset = "data"
u = ["u"]
y = ["y"]
win_sz = 40
stp_sz = 40
bs = 8
n_batches = 4

[model]
name = "core/rnn"
hidden_size = 3
"""
README = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
TINY = {
    "training": "--cells rnn tcn --cases tiny --steps 2 --samples 3000 --seconds 0.01",
    "startup": "--samples 3000 --case tiny",
    "data": "--samples 3000 --steps 2 --seconds 0.01",
    "simulation": "--samples 300 --hidden 4 --seconds 0.01",
    "streaming_step": "--hidden 4 --seconds 0.01",
    "memory": "--samples 3000 --case tiny --steps 2 --seconds 0.01",
    "scaling": "--sizes 3e3 --steps 1 --seconds 0.01",
    "population": "--members 2 --hidden 4 --batch 4 --window 20 --steps 2 --epochs 1",
    "causal_convolution": "--shape 1 4 2 20 4",
    "checkpoints": "--size 4 600",
}


@pytest.fixture
def module_of(monkeypatch):
    """Return a function that imports a module of the package, as from the root of a clone."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.fixture
def benchmarks(module_of):
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    yield module_of("__main__")
    if cores is not None:
        os.sched_setaffinity(0, cores)


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "TSJAX_PEERS"}
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("arguments", [[], ["trainnig"]])
def test_without_a_known_name_all_are_listed(benchmarks, capsys, arguments):
    """The exit status is 2, and every command stands in the list."""
    assert benchmarks.main(arguments) == 2
    told = capsys.readouterr().err
    print(told)
    assert told.startswith("there is no benchmark 'trainnig'" if arguments else "name a benchmark")
    assert all(f"\n  {name} " in told for name in [*benchmarks.COMMANDS, "all"])


def test_every_command_tells_its_options(benchmarks, module_of, capsys):
    """With --help, and with a text of what is measured."""
    for name in [*benchmarks.COMMANDS, "all"]:
        with pytest.raises(SystemExit) as ended:
            benchmarks.main([name, "--help"])
        assert ended.value.code == 0
        told = capsys.readouterr().out
        assert f"python -m benchmarks {name}" in told
        assert len(told.split("\n\n")[1]) > 40


def test_the_readme_names_every_command(benchmarks):
    """Those in its table are those that there are, and each stands in a line to be run too."""
    assert set(re.findall(r"^\| `(\w+)", README, re.MULTILINE)) == set(benchmarks.COMMANDS)
    assert {line[0] for line in readme_lines()} == {*benchmarks.COMMANDS, "all"}


def test_the_readmes_lines_are_accepted(benchmarks, module_of):
    """Names and options of each line are those of the parsers, and its examples exist."""
    for name, *arguments in readme_lines():
        if name == "all":
            benchmarks.options_of_all(arguments)
            continue
        options = module_of(name).parser().parse_args(arguments)
        if name == "accuracy":
            assert (ROOT / options.experiment).is_file()
        print(name, options)


@pytest.mark.parametrize(
    "line,told",
    [
        ("training --rounds 0", "argument --rounds: 0 is no whole number of at least 1"),
        ("memory --samples 2.5", "argument --samples: 2.5 is no whole number of at least 1"),
        ("training --cells lru", "argument --cells: invalid choice: 'lru'"),
        ("data --sec 1", "unrecognized arguments: --sec 1"),
        ("all --samples 100", "unrecognized arguments: --samples 100"),
    ],
)
def test_wrong_options_are_told(benchmarks, capsys, line, told):
    """The exit status is 2, and nothing has been started."""
    with pytest.raises(SystemExit) as ended:
        benchmarks.main(line.split())
    error = capsys.readouterr().err
    print(error)
    assert ended.value.code == 2
    assert told in error


def test_all_gives_each_command_the_options_it_has(benchmarks):
    """Those that a command lacks are left out, and it has its own defaults for the rest."""
    given = benchmarks.options_of_all(["--peers", "p", "--rounds", "3", "--seconds", "0.5"])
    with_data = {"accuracy", "published"}
    assert list(given) == [name for name in benchmarks.COMMANDS if name not in with_data]
    assert (given["training"].peers, given["training"].seconds) == ("p", 0.5)
    assert given["training"].cells is None
    assert (given["startup"].peers, given["startup"].rounds) == ("p", 3)
    assert "seconds" not in given["startup"]
    assert vars(given["checkpoints"]) == {"rounds": 3, "size": None}
    assert benchmarks.options_of_all([])["checkpoints"].rounds == 40


def readme_lines() -> list[list[str]]:
    """Return the arguments of each line `$ python -m benchmarks ...`."""
    return [
        shlex.split(line)
        for line in re.findall(r"^\$ python -m benchmarks (.*)$", README, re.MULTILINE)
    ]


def test_nobody_gets_it_installed(tmp_path):
    """Outside the clone tsjax is found, and the package is not."""
    command = [sys.executable, "-I", "-c", "import tsjax_core, benchmarks"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    print(done.stderr)
    assert done.stderr.endswith("ModuleNotFoundError: No module named 'benchmarks'\n")


def test_an_environment_that_is_none_is_told(tmp_path, benchmarks, capsys):
    """The text says how to make one, and the exit status is 1."""
    assert benchmarks.main(["streaming_step", "--peers", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    print(told)
    assert told.startswith(f"error: {tmp_path} holds no Python environment. Make one:\n")
    assert "pip install torch==" in told


def test_an_environment_that_does_not_run_is_told(tmp_path, benchmarks, capsys):
    """As one whose interpreter is gone."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/nowhere/python\n")
    python.chmod(0o755)
    assert benchmarks.main(["memory", "--peers", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    print(told)
    assert told.startswith(f"error: {python} does not run (")
    assert "Make it anew:" in told


@pytest.mark.parametrize(
    "text,told",
    [
        (None, "is no file; give an experiment of tsjax."),
        (EXPERIMENT.replace("win_sz", "window"), "[data]"),
        (EXPERIMENT + "[test]\n", "unknown table [test]. Tables: data"),
        (EXPERIMENT, "data: does not exist. Give a directory with train/, valid/ and test/"),
    ],
)
def test_a_wrong_experiment_is_told(tmp_path, benchmarks, capsys, text, told):
    """Before anything is started."""
    file = tmp_path / "experiment.toml"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    assert benchmarks.main(["accuracy", str(file)]) == 1
    error = capsys.readouterr().err
    print(error)
    assert error.startswith(f"error: {tmp_path}")
    assert told in error


def test_a_contender_whose_process_ends_is_told(module_of):
    """Its name and exit status, instead of an answer that never comes."""
    turns = module_of("turns")
    contender = turns.Contender("tsjax", Path(sys.executable), "nobody_worker")
    with pytest.raises(turns.BenchmarkError) as caught, turns.workers([contender], {"task": "x"}):
        pass
    print(caught.value)
    assert str(caught.value) == ("the process of tsjax ended with status 1; what it said is above.")


def test_ratios_are_taken_within_a_round(module_of, capsys):
    """Median and range of the rounds' ratios, which are not the ratio of the medians."""
    table = module_of("report").Table("work", "windows/s", ["tsjax", "peer", "absent"])
    table.row("gru", {"tsjax": [10.0, 30.0, 20.0], "peer": [5.0, 10.0, 5.0]}, {"absent": "gone"})
    told = capsys.readouterr().out.splitlines()
    assert told[1] == "work: windows/s, more is better; in brackets tsjax / column"
    assert told[3].split() == ["gru", "20", "5", "[3.00,", "2.00..4.00]", "gone"]


def test_a_table_copes_with_who_is_missing(module_of, capsys):
    """Without the first contender there are figures and no ratios."""
    table = module_of("report").Table("time", "us", ["tsjax", "peer"], more=False)
    table.row("step", {"peer": [3.0, 1.0, 2.0, 4.0]})
    table.row("long", {"tsjax": [1234.56]})
    told = capsys.readouterr().out.splitlines()
    assert told[1] == "time: us, less is better; in brackets tsjax / column"
    assert [line.split() for line in told[3:]] == [["step", "-", "2.5"], ["long", "1235", "-"]]


def test_versions_are_told_by_contender(module_of):
    """A line for each, of all that it runs on."""
    told = module_of("report").told_versions(
        {"tsjax": {"python": "3.11", "jax": "0.10"}, "torch": {"python": "3.12"}}
    )
    assert told == "tsjax: python 3.11, jax 0.10\ntorch: python 3.12"


def test_errors_have_median_and_range_over_the_seeds(module_of):
    """Each contender has a column, with its steps, its seconds and its error at each file."""
    figures = {
        "tsjax": [
            {"rmse": {"arrow": a, "multisine": 1.0}, "steps": 18000, "seconds": 60.0}
            for a in (0.003, 0.001, 0.0025, 0.004, 0.002)
        ],
        "tsfast": [
            {"rmse": {"arrow": a, "multisine": a}, "steps": s, "seconds": 61.25}
            for a, s in ((5.0, 950), (6.0, 1000))
        ],
    }
    head, *rows = module_of("accuracy").rows(figures)
    assert head.split() == ["tsjax", "tsfast"]
    assert [" ".join(row.split()) for row in rows] == [
        "steps 18000 [18000 .. 18000] 975 [950 .. 1000]",
        "seconds 60 [60 .. 60] 61.25 [61.25 .. 61.25]",
        "arrow 0.0025 [0.001 .. 0.004] 5.5 [5 .. 6]",
        "multisine 1 [1 .. 1] 5.5 [5 .. 6]",
    ]
    assert len({len(row) for row in [head, *rows]}) == 1


@pytest.mark.parametrize(
    "more,file,reason",
    [
        ({}, "test.hdf5", None),
        ({}, "test.csv", "it reads HDF5 files, and these are CSV"),
        ({"target_fs": 10.0, "delimiter": ";"}, "a.h5", "where [data] has delimiter, target_fs"),
        ({"y": ["y", "acc:2"]}, "a.h5", "it has no columns of data sets, such as acc:2"),
    ],
)
def test_what_tsfast_cannot_read_is_told(module_of, more, file, reason):
    """It then takes no part, rather than train on other signals."""
    data = {"dataset": "data", "u": ["u"], "y": ["y"], "win_sz": 10}
    told = module_of("accuracy").unreadable(data | more, {"test": [file]})
    print(told)
    assert reason in told if reason else told is None


def test_turns_go_back_and_forth(module_of):
    """Every second round is in reverse, and each contender has one figure a round."""
    order: list[str] = []

    def measure(name: str) -> int:
        order.append(name)
        return len(order)

    work = {name: partial(measure, name) for name in "ab"}
    figures = module_of("turns").take_turns(work, 3, "work")
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert figures == {"a": [1, 4, 5], "b": [2, 3, 6]}


@pytest.mark.slow
def test_who_lacks_what_a_task_needs_is_left_out(tmp_path, benchmarks, capsys):
    """Nothing is to be simulated where outputs are scalars, and the report says so."""
    rng = np.random.default_rng(0)
    for split in ("train", "valid", "test"):
        (tmp_path / "data" / split).mkdir(parents=True)
        for number in range(3):
            with h5py.File(tmp_path / "data" / split / f"{number}.hdf5", "w") as file:
                file["u"] = rng.standard_normal(40)
                file.attrs["mass"] = float(number)
    experiment = tmp_path / "experiment.toml"
    scalars = EXPERIMENT.replace('y = ["y"]', 'y = []\ny_scalars = ["mass"]')
    experiment.write_text(f'{scalars}output = "last"\n', encoding="utf-8")
    assert benchmarks.main(["accuracy", str(experiment), "--alone", "--seeds", "1"]) == 0
    told = capsys.readouterr().out
    print(told)
    assert "tsjax: left out, its outputs are scalars" in told


@pytest.mark.slow
def test_accuracy_trains_and_simulates(tmp_path):
    """Of two seeds each test file has an error, after the steps that were asked for."""
    from tsjax_core.data.simulated import write_duffing

    write_duffing(tmp_path / "elsewhere", n_train=1, n=512)
    file = tmp_path / "experiment.toml"
    file.write_text(EXPERIMENT, encoding="utf-8")
    options = ["--data", str(tmp_path / "elsewhere"), "--steps", "8", "--skip", "5", "--seeds", "2"]
    done = run("accuracy", str(file), *options)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert "RMSE after 8 steps: median of 2 seeds, in brackets their range" in done.stdout
    assert re.search(r"^steps +8  \[8 \.\. 8\]$", done.stdout, re.MULTILINE)
    for path in (tmp_path / "elsewhere" / "test").iterdir():
        told = re.search(rf"^{path.stem} +(\S+)  \[(\S+) \.\. (\S+)\]$", done.stdout, re.MULTILINE)
        assert told
        middle, lowest, highest = map(float, told.groups())
        assert 0 < lowest < middle < highest < 100
    assert "not installed: tsfast. Install with" in done.stdout


@pytest.mark.parametrize(
    "name",
    [n if n == "streaming_step" else pytest.param(n, marks=pytest.mark.slow) for n in TINY],
)
def test_commands_run_without_peers(name):
    """Each prints lines with figures; who takes turns also tells machine, versions and rounds."""
    done = run(name, *TINY[name].split(), "--rounds", "1")
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert re.search(r"^tsjax: .*\bjax \d|^together: |^streamed: ", done.stdout, re.MULTILINE)
    assert "\nrounds: 1" in done.stdout
    if name in ("causal_convolution", "checkpoints"):
        assert any(len(re.findall(r"\d+\.\d+", s)) > 2 for s in done.stdout.splitlines()[-5:])
        return
    tables = re.findall(r" is better; .*\n.*\n((?:.+\n)+)", done.stdout)
    rows = [line for table in tables for line in table.splitlines()]
    assert rows
    assert all(float(line[28:40]) > 0 for line in rows)


def test_the_tiny_sizes_leave_no_command_out(benchmarks):
    """All but those on measured data, which have tests of their own."""
    assert {*TINY, "accuracy", "published"} == set(benchmarks.COMMANDS)


def test_published_refuses_what_it_cannot_run(benchmarks, capsys, tmp_path):
    """A set that is not known, and a folder that is not there."""
    for arguments, part in (
        (["--sets", "silverbox"], "there is no folder"),
        (["--sets", "nothing"], "no row is left; --sets are silverbox, wiener_hammerstein"),
    ):
        assert benchmarks.main(["published", "--data", str(tmp_path), *arguments]) == 1
        err = capsys.readouterr().err
        print(err)
        assert part in err


@pytest.mark.slow
def test_published_trains_a_row(module_of, tmp_path):
    """Each seed in a process of its own; the lines have each file and the time."""
    from tsjax_core.data.simulated import write_duffing

    module = module_of("published")
    write_duffing(tmp_path / "set", n_train=2, n=512)
    changes = ("model.order=2", "polish.iterations=2")
    row = module.Row("set", "core/linear", None, changes, 16.0, "nothing")
    lines = module.measure(row, tmp_path, range(1))
    assert any(re.search(r"multisine.* \d\.\d+ \(", line) for line in lines)
    assert "seconds of the process" in lines[-1]
