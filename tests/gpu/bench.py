"""A project directory in which the program under test serves holders of GPU memory, and the questions that the checks ask about it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import nvml

HERE = Path(__file__).resolve().parent
HOLDER = HERE / "holder.py"
MIB = 1 << 20
HELD_MIB = 2048
FREE_BELOW = 300 * MIB      # as rules/client/gpu.c calls a GPU free
SECONDS = 120
SETTLE_SECONDS = 5
# What a holder needs of the environment besides what the program passes on; multicast stays off: it can outlive the process that asked for it.
PASSED = ("LD_LIBRARY_PATH", "PYTHONPATH", "PROVISION_FAKE_NVML", "GPU_RUN_FLAW")
PASSED_BEGINNINGS = ("NCCL_", "TORCH_", "NVSHMEM_")
SET = {"NCCL_NVLS_ENABLE": "0", "TORCH_SYMM_MEM_DISABLE_MULTICAST": "1", "NCCL_SOCKET_IFNAME": "lo", "PYTHONUNBUFFERED": "1"}


class Failed(Exception):
    """A check that did not hold; its text says what was seen."""


def must(condition, text):
    if not condition:
        raise Failed(text)


class Done:
    def __init__(self, arguments, done):
        self.arguments, self.code, self.out, self.err = arguments, done.returncode, done.stdout, done.stderr
        self.text = done.stdout + done.stderr

    def __str__(self):
        return f"provision {' '.join(self.arguments)}: exit {self.code}\n{self.text}"


class Bench:
    def __init__(self, directory, programs, library, smi, rehearsed):
        self.directory, self.smi, self.rehearsed = Path(directory), smi, rehearsed
        self.program, self.look_program = programs
        self.nvml = nvml.Nvml(library, changing=rehearsed)
        self.uuids = [gpu["uuid"] for gpu in self.look()["gpus"]]
        self.baseline = [used for used, _ in self.nvml.look()]
        self.noise = 0          # bytes that a GPU's use changes by while nobody uses it
        self.started = []

    def close(self):
        self.provision("destroy", "--yes")
        for process in self.started:
            self.end(process)

    def blind(self):
        """CUDA started without a GPU to see, and ended."""
        code = f"import sys; sys.path.insert(0, {str(HERE)!r}); from cards import cards; print(len(cards().uuids))"
        done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True, check=True)
        must(done.stdout == "0\n", f"CUDA sees {done.stdout} GPUs where it should see none")

    # ---- the program

    def look(self):
        done = subprocess.run([self.look_program], capture_output=True, text=True, check=False, timeout=SECONDS)
        must(done.returncode == 0, f"gpus are not read: {done.stderr}")
        return json.loads(done.stdout)

    def provision(self, *arguments):
        return Done(arguments, subprocess.run([self.program, *arguments], cwd=self.directory, capture_output=True, text=True, check=False, timeout=2 * SECONDS))

    def manifest(self, targets, **more):
        (self.directory / "provision.yaml").write_text(json.dumps({"provision": 1, "name": "gpus", "targets": targets, **more}))

    def host(self, **wish):
        """`plan` and `apply` of a wish, one after the other; what `plan` ended with."""
        self.manifest({"host": {"rule": "host", **wish}})
        return self.provision("plan")

    def outputs(self, target):
        return json.loads(self.provision("audit", "show", target, "--json").out)["outputs"]

    def serve(self, gpus, *arguments, **more):
        """A manifest with one service on these GPUs; its report comes to `self.report`."""
        self.report = self.directory / "report.json"
        self.report.unlink(missing_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.manifest({"server": {
            "rule": "service", "runtime": "process", "gpus": gpus, "port": port, "stop_timeout": "20s",
            "env": {name: value for name, value in os.environ.items() if name in PASSED or name.startswith(PASSED_BEGINNINGS)} | SET,
            "ready": {"path": "/health", "timeout": f"{SECONDS}s", "interval": "50ms"},
            "command": [sys.executable, str(HOLDER), "--host", "{host}", "--port", "{port}", "--report", str(self.report), *map(str, arguments)],
        }}, **more)

    def applied(self):
        done = self.provision("apply", "--yes")
        must(done.code == 0, str(done))
        return json.loads(self.report.read_text())

    def gone(self):
        """End what serves; all of its memory must be back."""
        done = self.provision("destroy", "--yes")
        must(done.code == 0, str(done))
        must(self.is_back(), f"memory did not come back after destroy: {self.nvml.look()}, before it was {self.baseline}")

    def is_back(self):
        return all(abs(used - before) < FREE_BELOW and not pids for (used, pids), before in zip(self.nvml.look(), self.baseline))

    # ---- others

    @contextlib.contextmanager
    def occupied(self, index, count=1, mib=HELD_MIB):
        """Programs of somebody else on a GPU, ended at the end; their processes."""
        reports = [self.directory / f"occupant{number}.json" for number in range(count)]
        for report in reports:
            report.unlink(missing_ok=True)
        processes = [subprocess.Popen([sys.executable, HOLDER, "--mib", str(mib), "--report", report], env=os.environ | {"CUDA_VISIBLE_DEVICES": self.uuids[index]})
                     for report in reports]
        self.started += processes
        try:
            deadline = time.monotonic() + SECONDS
            while not all(report.exists() for report in reports):
                must(time.monotonic() < deadline and all(p.poll() is None for p in processes), "an occupant did not start")
                time.sleep(0.05)
            yield processes
        finally:
            for process in processes:
                self.end(process)
            self.settle()

    def settle(self):
        """Until all is as it was, to the byte; a driver may keep a little, and then that is what it was."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while [used for used, _ in self.nvml.look()] != self.baseline and time.monotonic() < deadline:
            time.sleep(0.05)
        self.baseline = [used for used, _ in self.nvml.look()]

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait()
