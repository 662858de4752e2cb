"""What holds of every Gpu: each law is given an open one. On made-up GPUs in test_gpu.py, on a real one in
test_real.py."""

from tests.backends.cuda import graph_laws as laws_of_graphs
from tests.backends.cuda import lifetime_laws as laws_of_lives
from tests.backends.cuda import memory_laws as laws_of_memory


def _laws(*modules):
    """{name: law}"""
    found = {name: law for module in modules for name, law in vars(module).items() if name.startswith("law_")}
    return {name.removeprefix("law_"): law for name, law in found.items()}


GRAPHS = _laws(laws_of_graphs)  # pycuda has none
ALL = _laws(laws_of_memory, laws_of_lives) | GRAPHS
