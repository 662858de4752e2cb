"""A fake of libcuda for the probe."""


class Driver:
    """The functions of libcuda that the probe calls; `starts` is the result of cuInit."""

    DEVICES = (("Orin", 8, 7, 1, 7619), ("NVIDIA GeForce RTX 4070", 8, 9, 0, 12281))

    def __init__(self, starts=0):
        self.starts = starts

    def cuInit(self, flags):  # noqa: N802
        assert flags == 0
        return self.starts

    def cuDriverGetVersion(self, version):  # noqa: N802
        version._obj.value = 12060
        return 0

    def cuDeviceGetCount(self, count):  # noqa: N802
        assert self.starts == 0
        count._obj.value = len(self.DEVICES)
        return 0

    def cuDeviceGet(self, device, index):  # noqa: N802
        device._obj.value = index
        return 0

    def cuDeviceGetName(self, name, length, device):  # noqa: N802
        assert length == len(name)
        name.value = self.DEVICES[device.value][0].encode()
        return 0

    def cuDeviceTotalMem_v2(self, size, device):  # noqa: N802
        size._obj.value = self.DEVICES[device.value][4] << 20
        return 0

    def cuDeviceGetAttribute(self, value, attribute, device):  # noqa: N802
        field = {75: 1, 76: 2, 18: 3}[attribute]  # CUdevice_attribute, cuda.h
        value._obj.value = self.DEVICES[device.value][field]
        return 0

    def cuGetErrorName(self, code, name):  # noqa: N802
        if code != 100:
            return 1
        name._obj.value = b"CUDA_ERROR_NO_DEVICE"
        return 0
