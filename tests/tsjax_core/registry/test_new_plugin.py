"""What `tsjax new` writes, and what it refuses."""

from __future__ import annotations

import re
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tsjax_core import cli
from tsjax_core.errors import ConfigError, RunDirectoryError
from tsjax_core.registry import new_plugin

LONG = "x" * 40

EXPECTED = {
    ".github/workflows/ci.yml",
    ".gitignore",
    "LICENSE",
    "README.md",
    "experiment.toml",
    "pyproject.toml",
    "src/tsjax_my_plant/__init__.py",
    "src/tsjax_my_plant/_plugin.py",
    "src/tsjax_my_plant/modes.py",
    "src/tsjax_my_plant/py.typed",
    "tests/test_modes.py",
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """Run each test in an empty directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def tsjax(monkeypatch, capsys):
    """Run the command in this process; return exit status, standard output and error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tsjax", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        out = capsys.readouterr()
        print(out.out, out.err, sep="\n")
        return left.value.code or 0, out.out, out.err

    return run


def files_in(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_it_writes_a_whole_project_and_says_what_to_do_next(tsjax):
    """Directory and distribution have dashes, namespace and package have underscores."""
    status, out, err = tsjax("new", "my_plant")
    assert (status, err) == (0, "")
    assert out == (
        "wrote tsjax-my-plant: a plugin that offers the model my_plant/modes. Try next:\n"
        "  cd tsjax-my-plant\n"
        '  pip install -e ".[dev]" && pytest\n'
        "  tsjax demo --data-only && tsjax train experiment.toml\n"
    )
    files = files_in(Path("tsjax-my-plant"))
    assert files.keys() == EXPECTED
    project = tomllib.loads(files["pyproject.toml"])["project"]
    assert project["name"] == "tsjax-my-plant"
    assert project["entry-points"] == {"tsjax": {"my_plant": "tsjax_my_plant._plugin"}}
    assert tomllib.loads(files["experiment.toml"])["model"]["name"] == "my_plant/modes"


def test_out_is_the_directory_that_is_written(tsjax):
    """With the directories above it; the printed command reaches it as it stands."""
    status, out, _ = tsjax("new", "plant", "--out", "my work/plugin")
    assert status == 0
    assert "\n  cd 'my work/plugin'\n" in out
    assert Path("my work/plugin/src/tsjax_plant/_plugin.py").exists()
    assert [path.name for path in Path("my work").iterdir()] == ["plugin"]


@pytest.mark.parametrize(
    "name", ["x", "lag", "modes", "tests", "src", "class", "acme", "acme_acme", "a2_b", LONG]
)
def test_any_name_takes_the_place_of_the_templates(name):
    """Also a name that stands in the files for something else: no other word changes."""
    files = files_in(new_plugin.write_plugin(name))
    assert len(files) == len(EXPECTED)
    assert f"src/tsjax_{name}/_plugin.py" in files
    template = files_in(new_plugin.write_plugin("zyx"))
    dashed = f"tsjax-{name.replace('_', '-')}"
    for file, text in template.items():
        expected = text.replace("tsjax-zyx", dashed).replace("zyx", name)
        assert files[file.replace("zyx", name)] == expected
        assert "acme" not in text
    for file in filter(re.compile(r".*\.py").fullmatch, files):
        compile(files[file], file, "exec")
        assert max(map(len, files[file].splitlines())) <= 100


GRAMMAR = "it starts with a lower-case letter, has only lower-case letters, digits and single"


@pytest.mark.parametrize(
    "name,told",
    [
        ("tsjax-plant", [GRAMMAR, "Did you mean 'plant'?"]),
        ("tsjax_plant", [GRAMMAR, "tsjax- is put before it", "Did you mean 'plant'?"]),
        ("Plant", [GRAMMAR, "Did you mean 'plant'?"]),
        ("two-tanks", [GRAMMAR, "Did you mean 'two_tanks'?"]),
        ("two__tanks_", [GRAMMAR, "Did you mean 'two_tanks'?"]),
        ("2tanks", [GRAMMAR]),
        ("tsjax", [GRAMMAR]),
        ("größe", [GRAMMAR]),
        ("../plant", [GRAMMAR, "Did you mean 'plant'?"]),
        ("", [GRAMMAR]),
        (LONG + "x", [GRAMMAR, "at most 40"]),
        ("tcn", ["the namespace 'tcn' is that of tsjax-tcn, which the tsjax project publishes"]),
        ("core", ["the namespace 'core' is that of tsjax-core"]),
    ],
)
def test_a_name_that_cannot_be_is_refused(name, told, tsjax, here):
    """With what a name looks like, the nearest one that can be, and exit status 2."""
    status, out, err = tsjax("new", name)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert all(part in err for part in told), err
    assert ("Did you mean" in err) == any("Did you mean" in part for part in told)
    assert list(here.iterdir()) == []


def test_a_namespace_that_is_installed_is_refused(site, tsjax, here):
    """Two plugins with one namespace could not be used."""
    site.install("plant", "")
    status, _, err = tsjax("new", "plant")
    assert status == 2
    assert "the namespace 'plant' is taken by fake-plant 1.2, which is installed" in err
    assert list(here.iterdir()) == []
    with pytest.raises(ConfigError) as caught:
        new_plugin.write_plugin("plant")
    assert caught.value.key == "name"


def test_what_exists_is_left_alone(tsjax):
    """A second call writes nothing and names the way out."""
    assert tsjax("new", "plant")[0] == 0
    file = Path("tsjax-plant/README.md")
    file.write_text("mine")
    status, out, err = tsjax("new", "plant")
    assert (status, out) == (2, "")
    assert err == (
        "error: tsjax-plant exists; nothing was written. Choose another directory with --out.\n"
    )
    assert file.read_text() == "mine"
    with pytest.raises(RunDirectoryError):
        new_plugin.write_plugin("other", Path("tsjax-plant"))


@pytest.mark.parametrize(
    "out,told",
    [
        ("link", "link exists; nothing was written."),
        ("file/plugin", "file/plugin cannot be written (file is not a directory); nothing was"),
        ("file/a/plugin", "file/a/plugin cannot be written (file is not a directory); nothing"),
        ("link/plugin", "link/plugin cannot be written (link is not a directory); nothing was"),
        (f"new/{'x' * 300}/plugin", "plugin cannot be written (File name too long); nothing was"),
        (f"new/er/{'x' * 250}", "x cannot be written (File name too long); nothing was written."),
    ],
    ids=lambda text: text[:20],
)
def test_what_cannot_be_written_is_told(out, told, tsjax, here):
    """With the directory and what to do, and neither it nor one above it is left behind."""
    (here / "file").write_text("mine")
    (here / "link").symlink_to("nowhere")
    status, _, err = tsjax("new", "plant", "--out", out)
    assert status == 2
    assert err.startswith("error: ")
    assert told in err
    assert "Choose another directory with --out." in err
    assert sorted(path.name for path in here.iterdir()) == ["file", "link"]
    assert (here / "file").read_text() == "mine"
    with pytest.raises(RunDirectoryError) as caught:
        new_plugin.write_plugin("plant", Path(out))
    assert caught.value.path == Path(out)


@pytest.fixture
def template(tmp_path, monkeypatch) -> Path:
    """A copy of the template to spoil."""
    copy = shutil.copytree(new_plugin.TEMPLATE, tmp_path / "template")
    monkeypatch.setattr(new_plugin, "TEMPLATE", copy)
    return copy


def test_nothing_is_left_where_writing_fails(template, here):
    """Neither the directory nor a part of it, even if most files have been written."""
    (template / "tests" / "test_modes.py").write_bytes(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        new_plugin.write_plugin("plant")
    assert list(here.iterdir()) == []


def test_what_tools_leave_in_the_template_is_not_copied(template):
    """Bytecode that an installer compiles, and caches."""
    for stray in ("src/tsjax_acme/__pycache__/modes.pyc", ".ruff_cache/x", "tests/.cache/x"):
        (template / stray).parent.mkdir(exist_ok=True)
        (template / stray).write_text("stray")
    assert files_in(new_plugin.write_plugin("my_plant")).keys() == EXPECTED


class TestWorkflow:
    @pytest.fixture
    def workflow(self) -> dict:
        """The workflow as GitHub reads it."""
        folder = new_plugin.write_plugin("plant")
        text = (folder / ".github/workflows/ci.yml").read_text(encoding="utf-8")
        return yaml.safe_load(text)

    @staticmethod
    def commands(job: dict) -> list[str]:
        return [step["run"] for step in job["steps"] if "run" in step]

    def test_it_checks_every_push_and_pull_request(self, workflow):
        """On each Python that core supports, by the commands that the README tells."""
        # YAML reads the key `on` as true.
        triggers = workflow[True]
        assert triggers["push"] == {"branches": ["main"], "tags": ["v*"]}
        assert "pull_request" in triggers
        job = workflow["jobs"]["test"]
        assert job["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
        develop = Path("tsjax-plant/README.md").read_text().split("## Develop")[1]
        told = re.findall(r"^\$ (.*)", develop.split("## Publish")[0], re.MULTILINE)
        assert self.commands(job) == told

    def test_it_publishes_tags_without_a_secret(self, workflow):
        """What was built once and tested is sent, by the job that alone may ask for an identity."""
        jobs = workflow["jobs"]
        assert workflow["permissions"] == {"contents": "read"}
        assert (jobs["build"]["needs"], jobs["publish"]["needs"]) == ("test", "build")
        assert jobs["publish"]["if"] == "startsWith(github.ref, 'refs/tags/v')"
        assert jobs["publish"]["permissions"] == {"id-token": "write"}
        assert jobs["publish"]["environment"] == "release"
        assert [name for name, job in jobs.items() if "permissions" in job] == ["publish"]
        assert self.commands(jobs["publish"]) == []
        up, down = jobs["build"]["steps"][-1]["with"], jobs["publish"]["steps"][0]["with"]
        assert up == down == {"name": "dist", "path": "dist/"}
        assert "secrets" not in Path("tsjax-plant/.github/workflows/ci.yml").read_text()

    def test_it_uses_actions_by_major_version(self, workflow):
        """No action is taken from a branch that changes under it, but for the publisher's own."""
        used = [s["uses"] for job in workflow["jobs"].values() for s in job["steps"] if "uses" in s]
        assert used[-1] == "pypa/gh-action-pypi-publish@release/v1"
        assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", each) for each in used[:-1])

    def test_readme_names_what_the_publisher_is_told(self, workflow):
        """Project, workflow and environment, as they are in the files."""
        readme = Path("tsjax-plant/README.md").read_text(encoding="utf-8")
        for fact in ("project `tsjax-plant`", "workflow `ci.yml`", "environment `release`"):
            assert fact in " ".join(readme.split())
