"""What nvidia-smi says: asked now, recorded on another machine, or made up from the machine of a rehearsal."""

import json
import re
import subprocess
from pathlib import Path

GPU_FIELDS = ("index", "uuid", "name", "pci.bus_id", "memory.total", "memory.reserved", "memory.used", "memory.free", "driver_version", "compute_cap")
PROCESS_FIELDS = ("gpu_uuid", "pid", "used_memory")
FORM = "--format=csv,noheader,nounits"
GPUS = (f"--query-gpu={','.join(GPU_FIELDS)}", FORM)
PROCESSES = (f"--query-compute-apps={','.join(PROCESS_FIELDS)}", FORM)
ALL = ("-q",)
LINKS = {"p2p": ("topo", "-p2p", "r"), "nvlink": ("topo", "-p2p", "n")}
CUDA = re.compile(r"^CUDA Version\s*:\s*(\S+)", re.M)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Command:
    def __init__(self, program="nvidia-smi"):
        self.program = program

    def ask(self, question):
        return subprocess.run([self.program, *question], check=True, capture_output=True, text=True, timeout=60).stdout


class Recorded:
    def __init__(self, answers):
        self.answers = answers

    def ask(self, question):
        return self.answers[" ".join(question)]


class Invented:
    """As nvidia-smi would see the machine that the stand-in of NVML shows."""

    def __init__(self, path, lie=None):
        self.path, self.lie = Path(path), lie

    def ask(self, question):
        state = json.loads(self.path.read_text())
        if question == ALL:
            return f"CUDA Version                              : {state['cuda'] // 1000}.{state['cuda'] % 1000 // 10}\n"
        if question == PROCESSES:
            return "".join(f"{gpu['uuid']}, {p['pid']}, {p['mib']}\n" for gpu in state["gpus"] for p in gpu["processes"])
        if question == GPUS:
            return "".join(f"{index}, {gpu['uuid']}, {gpu['name']}, 00000000:{index + 1:02X}:00.0, {gpu['total_mib']}, {gpu['reserved_mib']}, {gpu['used_mib']}, "
                           f"{gpu['total_mib'] - gpu['reserved_mib'] - gpu['used_mib']}, {state['driver']}, {7.0 if self.lie else 8.6}\n"
                           for index, gpu in enumerate(state["gpus"]))
        cells = next(state[key] for key, wanted in LINKS.items() if wanted == question)
        heads = [f"GPU{index}" for index in range(len(cells))]
        rows = [[f"GPU{a}", *("X" if a == b else "OK" if cell == 0 else "NS" for b, cell in enumerate(row))] for a, row in enumerate(cells)]
        return "".join("\t".join(line) + "\n" for line in [["", *heads], *rows])


def table(text, fields):
    return [dict(zip(fields, (cell.strip() for cell in line.split(",")))) for line in text.splitlines() if line.strip()]


def gpus(smi):
    return table(smi.ask(GPUS), GPU_FIELDS)


def processes(smi):
    return table(smi.ask(PROCESSES), PROCESS_FIELDS)


def cuda(smi):
    found = CUDA.search(smi.ask(ALL))
    return found.group(1) if found else ""


def links(smi, kind):
    """Rows of cells: "X" for a GPU beside itself, "OK", or why not."""
    lines = [COLOURS.sub("", line).split() for line in smi.ask(LINKS[kind]).splitlines()]
    rows = [line for line in lines if line and re.fullmatch(r"GPU\d+", line[0])]
    width = sum(1 for row in rows if len(row) > 1 and not re.fullmatch(r"GPU\d+", row[1]))
    return [row[1:width + 1] for row in rows if len(row) > 1 and not re.fullmatch(r"GPU\d+", row[1])]


def keep(smi):
    """Its answers to all that is asked here; of -q the line that is read."""
    kept = {" ".join(question): smi.ask(question) for question in (GPUS, PROCESSES, *LINKS.values())}
    return kept | {" ".join(ALL): f"CUDA Version : {cuda(smi)}\n"}
