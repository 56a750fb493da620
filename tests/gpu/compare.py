"""What the program reads from NVML beside what nvidia-smi says, field by field. Each function gives the differences, in words."""

import smi as says

MIB = 1 << 20
ROUNDING = 1  # MiB: nvidia-smi shows no more


def differences(name, ours, theirs):
    return [] if ours == theirs else [f"{name}: {ours!r} here, {theirs!r} by nvidia-smi"]


def each(look, smi, name, ours, theirs):
    """One field of every GPU."""
    table = says.gpus(smi)
    found = differences("number of GPUs", len(look["gpus"]), len(table))
    for gpu, row in zip(look["gpus"], table):
        found += differences(f"GPU {gpu['index']}: {name}", ours(gpu), theirs(row))
    return found


def count(look, smi):
    return each(look, smi, "index", lambda gpu: gpu["index"], lambda row: int(row["index"]))


def uuids(look, smi):
    return each(look, smi, "UUID", lambda gpu: gpu["uuid"], lambda row: row["uuid"])


def names(look, smi):
    return each(look, smi, "name", lambda gpu: gpu["name"], lambda row: row["name"])


def addresses(look, smi):
    return each(look, smi, "PCI address", lambda gpu: gpu["pci"].lower(), lambda row: row["pci.bus_id"].lower())


def capability(look, smi):
    return each(look, smi, "compute capability", lambda gpu: "%d.%d" % tuple(gpu["capability"]), lambda row: row["compute_cap"])


def memory(look, smi):
    """`used` of ours holds what the driver keeps for itself, which nvidia-smi shows apart."""
    found = []
    for gpu, row in zip(look["gpus"], says.gpus(smi)):
        for field, ours in (("total", gpu["total"]), ("reserved", gpu["reserved"]), ("used", gpu["used"] - gpu["reserved"]), ("free", gpu["free"])):
            if abs(ours / MIB - float(row[f"memory.{field}"])) > ROUNDING:
                found.append(f"GPU {gpu['index']}: memory {field}: {ours / MIB:.1f} MiB here, {row[f'memory.{field}']} by nvidia-smi")
    return found


def driver(look, smi):
    return differences("driver", {look["driver"]}, {row["driver_version"] for row in says.gpus(smi)})


def cuda(look, smi):
    return differences("CUDA", look["cuda"], says.cuda(smi))


def links(kind):
    def compare(look, smi):
        ours = [["X" if a == b else cell == 1 for b, cell in enumerate(gpu[kind])] for a, gpu in enumerate(look["gpus"])]
        return differences(kind, ours, [[cell if cell == "X" else cell == "OK" for cell in row] for row in says.links(smi, kind)])
    return compare


def processes(look, smi):
    ours = sorted((gpu["uuid"], p["pid"], p["memory"] and p["memory"] // MIB) for gpu in look["gpus"] for p in gpu["processes"])
    theirs = sorted((row["gpu_uuid"], int(row["pid"]), int(row["used_memory"]) if row["used_memory"].isdigit() else None) for row in says.processes(smi))
    return differences("processes", ours, theirs)


# Name of the row, what compares, GPUs that it takes.
FIELDS = [
    ("number and order of the GPUs", count, 1),
    ("UUIDs", uuids, 1),
    ("names", names, 1),
    ("PCI addresses", addresses, 1),
    ("compute capability", capability, 1),
    ("memory: total, reserved, used, free", memory, 1),
    ("driver", driver, 1),
    ("CUDA", cuda, 1),
    ("peer access", links("p2p"), 2),
    ("NVLink", links("nvlink"), 2),
    ("processes: pid and memory", processes, 1),
]
