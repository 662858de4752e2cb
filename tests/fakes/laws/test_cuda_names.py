"""That the fake GPUs have no name that the real libraries have not."""

import inspect

import pytest

from tests.fakes.cuda import VERSIONS, FakeCuda, names_of
from tests.fakes.cuda_stream_calls import Calls
from tests.fakes.pycuda import FakePycuda


@pytest.mark.parametrize("version", VERSIONS)
def test_fake_cuda_names_are_those_of_cuda_bindings(version):
    real, fake = names_of(version), FakeCuda(version=version).module
    mine = {name: value for name, value in vars(fake).items() if not name.startswith("__")}
    functions = {name for name in mine if name.startswith("cu")}
    assert functions == {name for name in dir(Calls) if name.startswith("cu")}
    for name in functions:
        assert list(inspect.signature(mine.pop(name)).parameters) == real["functions"][name], name
    assert mine.keys() - real["enums"].keys() <= set(real["others"])
    assert {member.name: member.value for member in fake.CUresult} == real["enums"]["CUresult"]


def test_fake_pycuda_names_are_those_of_pycuda():
    real, fake = names_of("pycuda"), FakePycuda(FakeCuda()).module
    mine = {name: value for name, value in vars(fake).items() if not name.startswith("__")}
    for name in real["errors"]:
        assert issubclass(mine.pop(name, fake.Error), fake.Error)
    for name in [name for name, value in mine.items() if not isinstance(value, type)]:
        mine_to_name = inspect.signature(mine.pop(name)).parameters.values()
        named = [each.name for each in mine_to_name if each.kind is not each.POSITIONAL_ONLY]
        assert named == real["functions"][name], name
    assert len(mine) == 9
    inherited = {"PagelockedHostAllocation": "HostPointer"}
    for name, kind in mine.items():
        members = {each for each in dir(kind) if not each.startswith("_")} - set(dir(int)) - {"thread"}
        assert members <= {*real["classes"][name], *real["classes"].get(inherited.get(name), ())} | {"free"}, name
