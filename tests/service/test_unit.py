"""The systemd unit: one text, which systemd itself reads without a word and rates as hardened."""

import re
import shutil
import subprocess

import pytest

from nanoseg.service.unit import EXECUTABLE, NAME, unit_text
from tests.helpers.paths import ROOT

# From the manual pages: what systemd 249 of JetPack 6 does not know, and would only warn of.
NEWER_THAN_249 = """
    BindLogSockets ConditionCPUPressure ConditionCredential ConditionIOPressure ConditionMemoryPressure
    CoredumpReceive DelegateSubgroup ExecSearchPath ExitType ExtensionDirectories ExtensionImagePolicy
    FileDescriptorStorePreserve
    ImportCredential LogFilterPatterns ManagedOOMMemoryPressureDurationSec MemoryKSM MemoryPressureThresholdSec
    MemoryPressureWatch MemoryZSwapMax MemoryZSwapWriteback MountImagePolicy NFTSet OpenFile PrivatePIDs ReloadSignal
    RestartMaxDelaySec RestartMode RestartSteps RestrictFileSystems RestrictNetworkInterfaces RootEphemeral
    RootImagePolicy SetLoginEnvironment StartupMemoryZSwapMax SurviveFinalKillSignal TTYColumns TTYRows WantsMountsFor
"""
MAX_EXPOSURE = 2.5  # of 10, as `systemd-analyze security` counts
ANALYZE = shutil.which("systemd-analyze")


@pytest.fixture
def analyze(tmp_path):
    """Run systemd-analyze on the unit, with a program that exists."""
    if ANALYZE is None:
        pytest.skip("needs systemd-analyze, of the package systemd")
    unit = tmp_path / NAME
    unit.write_text(unit_text("/bin/true"))

    def run(*words):
        done = subprocess.run([ANALYZE, *words, str(unit)], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    return run


def directives(text):
    return re.findall(r"^([A-Z]\w+)=(.*)$", text, re.M)


def test_unit_is_that_of_the_repository():
    assert (ROOT / "docker" / NAME).read_text() == unit_text()


def test_unit_is_verified(analyze):
    code, out, err = analyze("verify", "--man=no")
    lines = [line for line in err.splitlines() if NAME in line]  # of this unit, not of the machine's others
    assert (code, out, lines) == (0, "", [])


def test_unit_is_hardened(analyze):
    code, out, err = analyze("security", "--offline=yes", "--no-pager", f"--threshold={MAX_EXPOSURE * 10:.0f}")
    if "unrecognized option" in err:
        pytest.skip("needs systemd 250 or newer, whose systemd-analyze rates files")
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", out)
    assert float(exposure) <= MAX_EXPOSURE
    assert code == 0


def test_unit_has_only_what_systemd_249_knows():
    names = {name for name, _ in directives(unit_text())}
    assert len(names) > 40
    assert names & set(NEWER_THAN_249.split()) == set()
    assert ("Type", "notify") in directives(unit_text())  # notify-reload is 253's
    assert "%d" not in unit_text()  # the credentials' folder, 250's


def test_unit_starts_the_executable_and_has_the_groups():
    text = unit_text("/usr/local/bin/nanoseg", groups=["video"])
    assert f"ExecStart={EXECUTABLE}" not in text
    assert dict(directives(text))["ExecStart"].startswith("/usr/local/bin/nanoseg serve --config ")
    assert dict(directives(text))["SupplementaryGroups"] == "video"
    assert "SupplementaryGroups" not in unit_text(groups=[])
