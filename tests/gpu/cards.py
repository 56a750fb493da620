"""Memory on GPUs for programs that are started to hold some: by CUDA's driver API, or, in a rehearsal, by an entry in the file that the stand-in of NVML reads."""

import contextlib
import ctypes
import fcntl
import json
import os
import time
from pathlib import Path

MIB = 1 << 20
ROUNDS = 500


@contextlib.contextmanager
def machine(path):
    """The rehearsed machine, to be changed; others see it whole, before or after."""
    path = Path(path)
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = json.loads(path.read_text())
        yield state
        new = path.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(state))
        new.rename(path)


class Rehearsed:
    """Sees the GPUs that CUDA would: those of CUDA_VISIBLE_DEVICES, in its order."""

    def __init__(self):
        self.path = os.environ["PROVISION_FAKE_NVML"]
        state = json.loads(Path(self.path).read_text())
        uuids = [gpu["uuid"] for gpu in state["gpus"]]
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        self.uuids = uuids if visible is None else [uuid for uuid in visible.split(",") if uuid]

    def hold(self, device, mib):
        self.take(self.uuids[device], mib)
        if os.environ.get("GPU_RUN_FLAW") == "touch":
            self.take(None, 1)

    def take(self, uuid, mib):
        """`uuid` None: of the first GPU that was not given."""
        with machine(self.path) as state:
            gpu = next((gpu for gpu in state["gpus"] if gpu["uuid"] == uuid or (uuid is None and gpu["uuid"] not in self.uuids)), None)
            if not gpu:
                return
            if gpu["used_mib"] + mib > gpu["total_mib"]:
                raise MemoryError(f"{gpu['uuid']}: {mib} MiB are not free")
            gpu["used_mib"] += mib
            gpu["processes"].append({"pid": os.getpid(), "mib": mib})

    def total(self, device):
        return next(gpu for gpu in json.loads(Path(self.path).read_text())["gpus"] if gpu["uuid"] == self.uuids[device])["total_mib"]

    def all_reduce(self, rank, world, store):
        Path(f"{store}.{rank}").write_text(str(rank + 1))
        others = [Path(f"{store}.{other}") for other in range(world)]
        while not all(other.exists() and other.read_text() for other in others):
            time.sleep(0.01)
        return sum(int(other.read_text()) for other in others)


class Cuda:
    def __init__(self):
        self.cuda = ctypes.CDLL("libcuda.so.1")
        self.contexts = {}
        count = ctypes.c_int()
        code = self.cuda.cuInit(0)
        self.uuids = []
        if code == 100:  # CUDA_ERROR_NO_DEVICE: none is visible
            return
        self.must("cuInit", code)
        self.must("cuDeviceGetCount", self.cuda.cuDeviceGetCount(ctypes.byref(count)))
        for index in range(count.value):
            raw = (ctypes.c_ubyte * 16)()
            self.must("cuDeviceGetUuid_v2", self.cuda.cuDeviceGetUuid_v2(raw, self.device(index)))
            text = bytes(raw).hex()
            self.uuids.append("GPU-" + "-".join(text[a:b] for a, b in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))))

    @staticmethod
    def must(name, code):
        if code:
            raise MemoryError(f"{name}: CUDA error {code}")

    def device(self, index):
        device = ctypes.c_int()
        self.must("cuDeviceGet", self.cuda.cuDeviceGet(ctypes.byref(device), index))
        return device

    def total(self, index):
        size = ctypes.c_size_t()
        self.must("cuDeviceTotalMem_v2", self.cuda.cuDeviceTotalMem_v2(ctypes.byref(size), self.device(index)))
        return size.value // MIB

    def hold(self, index, mib):
        context, memory = ctypes.c_void_p(), ctypes.c_uint64()
        if index not in self.contexts:
            self.must("cuDevicePrimaryCtxRetain", self.cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), self.device(index)))
            self.contexts[index] = context
        self.must("cuCtxSetCurrent", self.cuda.cuCtxSetCurrent(self.contexts[index]))
        self.must("cuMemAlloc_v2", self.cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(mib * MIB)))
        self.must("cuMemsetD8_v2", self.cuda.cuMemsetD8_v2(memory, ctypes.c_ubyte(1), ctypes.c_size_t(mib * MIB)))
        self.must("cuCtxSynchronize", self.cuda.cuCtxSynchronize())

    def all_reduce(self, rank, world, store):
        """By PyTorch and NCCL, so often that whoever samples sees it at work."""
        import torch
        import torch.distributed as distributed

        torch.cuda.set_device(rank)
        distributed.init_process_group("nccl", init_method=f"file://{store}", rank=rank, world_size=world)
        for _ in range(ROUNDS):
            values = torch.full((1 << 24,), float(rank + 1), device="cuda")
            distributed.all_reduce(values)
        torch.cuda.synchronize()
        if values.min() != values.max():
            raise ValueError("the sum is not the same everywhere")
        return values[0].item()


def cards():
    return Rehearsed() if "PROVISION_FAKE_NVML" in os.environ else Cuda()
