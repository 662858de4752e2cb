"""What holds of every Gpu: each law is given an open one. On fake GPUs in test_gpu.py, on a real one in
test_real.py."""

from tests.backends.cuda import graph_laws, lifetime_laws, memory_laws


def _laws(*modules):
    """{name: law}"""
    found = {name: law for module in modules for name, law in vars(module).items() if name.startswith("law_")}
    return {name.removeprefix("law_"): law for name, law in found.items()}


GRAPHS = _laws(graph_laws)  # pycuda has none
ALL = _laws(memory_laws, lifetime_laws) | GRAPHS
