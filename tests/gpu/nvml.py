"""NVML by its own library, without the program under test: samples while something runs, and raw answers to keep.

Layouts and codes as in rules/client/nvml.h. The library may be the stand-in of the tests, which reads what it answers anew at each start.
"""

import contextlib
import ctypes
import threading
import time

OK = 0
MEMORY_V2 = 40 | 2 << 24
ROOM = 64
LONG, SHORT = 32, 24
SENTINEL = 0xAA
KINDS = {"processes": "Compute", "graphics": "Graphics"}
MIB = 1 << 20


class Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("total", "free", "used")]


class MemoryV2(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint)] + [(name, ctypes.c_uint64) for name in ("total", "reserved", "free", "used")]


class Pci(ctypes.Structure):
    _fields_ = [("legacy", ctypes.c_char * 16)] + [(name, ctypes.c_uint) for name in ("domain", "bus", "device", "id", "subsystem")] + \
        [("bus_id", ctypes.c_char * 32)]


class NvmlError(Exception):
    pass


class Nvml:
    """Calls are one at a time. `changing`: start the library for each look, as the stand-in wants it."""

    def __init__(self, library, changing=False):
        self.library, self.changing, self.lock = ctypes.CDLL(library), changing, threading.Lock()
        if not changing:
            self.call("nvmlInit_v2")

    def call(self, name, *arguments):
        code = getattr(self.library, name)(*arguments)
        if code != OK:
            raise NvmlError(f"{name}: code {code}")

    @contextlib.contextmanager
    def open(self):
        with self.lock:
            if self.changing:
                self.call("nvmlInit_v2")
            try:
                yield self
            finally:
                if self.changing:
                    self.call("nvmlShutdown")

    def handles(self):
        count, found = ctypes.c_uint(), []
        self.call("nvmlDeviceGetCount_v2", ctypes.byref(count))
        for index in range(count.value):
            found.append(ctypes.c_void_p())
            self.call("nvmlDeviceGetHandleByIndex_v2", index, ctypes.byref(found[-1]))
        return found

    def text(self, name, *before):
        room = ctypes.create_string_buffer(96)
        self.call(name, *before, room, 96)
        return room.value.decode()

    def number(self, name, *before):
        value = ctypes.c_int()
        return getattr(self.library, name)(*before, ctypes.byref(value)), value.value

    def memory(self, handle):
        memory = MemoryV2(version=MEMORY_V2)
        self.call("nvmlDeviceGetMemoryInfo_v2", handle, ctypes.byref(memory))
        return {name: getattr(memory, name) for name in ("total", "reserved", "free", "used")}

    def records(self, kind, handle):
        """(count, the bytes that the driver wrote): which layout it uses shows in their number."""
        room, count = (ctypes.c_ubyte * (ROOM * LONG))(*[SENTINEL] * (ROOM * LONG)), ctypes.c_uint(ROOM)
        self.call(f"nvmlDeviceGet{KINDS[kind]}RunningProcesses_v3", handle, ctypes.byref(count), room)
        written = bytes(room)
        while written and written[-1] == SENTINEL:
            written = written[:-1]
        return count.value, written

    def pids(self, handle):
        found = set()
        for kind in KINDS:
            count, written = self.records(kind, handle)
            stride = LONG if len(written) > count * SHORT else SHORT
            found |= {int.from_bytes(written[at * stride:at * stride + 4], "little") for at in range(count)}
        return found

    def look(self):
        """[(used bytes, pids)] by GPU."""
        with self.open():
            return [(self.memory(handle)["used"], self.pids(handle)) for handle in self.handles()]

    def answers(self):
        """All that gpu.c asks, as tests/fake/nvml.c gives it again."""
        with self.open():
            handles = self.handles()
            code, cuda = self.number("nvmlSystemGetCudaDriverVersion_v2")
            return {
                "driver": self.text("nvmlSystemGetDriverVersion"), "cuda": cuda, "cuda_code": code, "gpus": [self.device(handle) for handle in handles],
                **{key: [[5 if a is b else self.number("nvmlDeviceGetP2PStatus", a, b, capability)[1] for b in handles] for a in handles]
                   for key, capability in (("p2p", 0), ("nvlink", 2))},
            }

    def device(self, handle):
        pci, plain, major, minor = Pci(), Memory(), ctypes.c_int(), ctypes.c_int()
        self.call("nvmlDeviceGetPciInfo_v3", handle, ctypes.byref(pci))
        self.call("nvmlDeviceGetMemoryInfo", handle, ctypes.byref(plain))
        self.call("nvmlDeviceGetCudaComputeCapability", handle, ctypes.byref(major), ctypes.byref(minor))
        raw = {f"{kind}_raw": {"count": count, "bytes": written.hex()} for kind in KINDS for count, written in [self.records(kind, handle)]}
        return {"name": self.text("nvmlDeviceGetName", handle), "uuid": self.text("nvmlDeviceGetUUID", handle), "pci": pci.bus_id.decode(),
                "capability": [major.value, minor.value], "memory": self.memory(handle), "plain": [plain.total, plain.free, plain.used], **raw}


class Watch:
    """Samples from its start to its end; [(seconds, [(used, pids)])]."""

    EVERY = 0.01

    def __init__(self, nvml):
        self.nvml, self.samples, self.ended, self.failure = nvml, [], threading.Event(), None
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        try:
            while not self.ended.is_set():
                self.samples.append((time.monotonic(), self.nvml.look()))
                self.ended.wait(self.EVERY)
        except NvmlError as error:
            self.failure = error

    def __enter__(self):
        self.samples.append((time.monotonic(), self.nvml.look()))
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        if self.failure:
            raise self.failure

    def used(self, gpu):
        return [sample[gpu][0] for _, sample in self.samples]

    def seen(self, gpu):
        return set().union(*(sample[gpu][1] for _, sample in self.samples))

    def slowest(self):
        """The longest time that nobody looked, seconds."""
        times = [at for at, _ in self.samples]
        return max((b - a for a, b in zip(times, times[1:])), default=0.0)
