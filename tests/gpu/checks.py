"""What must hold on a machine with GPUs. Each check takes a bench and gives what was seen, in a few words; one that does not hold raises Failed."""

import os
import pwd
import re
import time
from pathlib import Path

import compare
import smi as says
from bench import FREE_BELOW, HELD_MIB, MIB, Failed, must
from nvml import Watch

HOST, BUSY = 4, "E0506"
PART = 0.6              # of a GPU's memory: two of them do not fit
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
FREE_TRIES = 3


# ---- what is read

def field(function):
    def check(bench):
        # A look at two sources is no look at one moment: what is still coming or going is asked again.
        for _ in range(FREE_TRIES):
            found = function(bench.look(), bench.smi)
            if not found:
                return f"{len(bench.uuids)} GPUs"
            time.sleep(0.5)
        raise Failed("; ".join(found))
    return check


def processes_of_others(bench):
    with bench.occupied(len(bench.uuids) - 1, count=2) as occupants:
        seen = field(compare.processes)(bench)
        pids = {p["pid"] for gpu in bench.look()["gpus"] for p in gpu["processes"]}
        must({p.pid for p in occupants} <= pids, f"{[p.pid for p in occupants]} started, seen {pids}")
    return seen + ", 2 processes"


def expect(done, code, *words):
    must(done.code == code and all(word in done.text for word in words), f"exit {code} and {words} expected: {done}")


def host_limits(bench):
    """The verdict turns where nvidia-smi's numbers say it must."""
    rows = says.gpus(bench.smi)
    count, driver, cuda = len(rows), rows[0]["driver_version"], says.cuda(bench.smi)
    least = min(gpu["total"] for gpu in bench.look()["gpus"])
    expect(bench.host(gpus={"count": count, "name": rows[0]["name"], "memory": f"{least}B"}, driver=f">={driver}", cuda=f">={cuda}"), 0, f"{count} GPU")
    expect(bench.host(gpus={"count": count + 1}), HOST, "E0502", f"{count} of {count + 1} GPUs work")
    expect(bench.host(gpus={"count": count, "memory": f"{least + 1}B"}), HOST, "E0503")
    expect(bench.host(gpus={"name": "no such card"}), HOST, "E0503", rows[0]["name"])
    expect(bench.host(driver=f">{driver}"), HOST, "E0504", driver)
    expect(bench.host(cuda=f">{cuda}"), HOST, "E0505", cuda)
    return f"{count} x {rows[0]['name']}, driver {driver}, CUDA {cuda}"


def host_outputs(bench):
    rows = says.gpus(bench.smi)
    bench.manifest({"host": {"rule": "host", "gpus": {"count": len(rows)}}})
    done = bench.provision("apply", "--yes")
    must(done.code == 0, str(done))
    seen = bench.outputs("host")
    wanted = {"gpus": ",".join(row["uuid"] for row in rows), "driver": rows[0]["driver_version"], "cuda": says.cuda(bench.smi)}
    must({key: seen[key] for key in wanted} == wanted, f"{seen}, wanted {wanted}")
    return "UUIDs, driver, CUDA"


def host_peers(bench):
    linked = all(cell in ("X", "OK") for row in says.links(bench.smi, "p2p") for cell in row)
    expect(bench.host(gpus={"p2p": True}), 0 if linked else HOST, *([] if linked else ["E0514"]))
    return "passes: all are linked" if linked else "refused: not all are linked"


# ---- what is chosen

def chosen(bench, gpus, wanted):
    """Serve on `gpus`: they are to be these, by index, in the record, in the process's environment, to CUDA and to the driver."""
    uuids = [bench.uuids[index] for index in wanted]
    bench.serve(gpus)
    report = bench.applied()
    seen = [index for index, (_, pids) in enumerate(bench.nvml.look()) if report["pid"] in pids]
    recorded = bench.outputs("server")["gpus"]
    bench.gone()
    must(recorded == report["visible"] == ",".join(uuids), f"{gpus}: recorded {recorded}, CUDA_VISIBLE_DEVICES {report['visible']}, wanted {uuids}")
    must(report["uuids"] == uuids, f"{gpus}: in the process GPU 0 and on are {report['uuids']}, wanted {uuids}")
    must(seen == sorted(wanted), f"{gpus}: the driver shows it on GPUs {seen}, wanted {wanted}")


def by_index(bench):
    for index in range(len(bench.uuids)):
        chosen(bench, [index], [index])
    return f"each of {len(bench.uuids)}"


def by_uuid(bench):
    last = len(bench.uuids) - 1
    chosen(bench, [bench.uuids[last]], [last])
    return f"GPU {last}"


def by_count(bench):
    for count in range(1, len(bench.uuids) + 1):
        chosen(bench, {"count": count}, list(range(count)))
    return f"1 to {len(bench.uuids)}, lowest first"


def in_another_order(bench):
    order = list(reversed(range(len(bench.uuids))))
    chosen(bench, order, order)
    return f"{order}: GPU 0 inside is GPU {order[0]} outside"


def free_ones(bench):
    count = len(bench.uuids)
    with bench.occupied(0):
        chosen_while_busy(bench, count)
    return f"{count - 1} of {count}, GPU 0 is in use"


def chosen_while_busy(bench, count):
    bench.serve({"count": count - 1, "free": True})
    report = bench.applied()
    must(report["uuids"] == bench.uuids[1:], f"{report['uuids']} of {bench.uuids}, GPU 0 in use")
    bench.serve({"count": count, "free": True})
    done = bench.provision("apply", "--yes")
    expect(done, HOST, BUSY, f"{count} free GPUs are asked for, {count - 1} of {count} are free")
    must(bench.provision("destroy", "--yes").code == 0, "destroy")


def none_at_all(bench):
    bench.serve("none")
    bench.settle()
    with Watch(bench.nvml) as watch:
        report = bench.applied()
        bench.gone()
    must(report["uuids"] == [], f"it sees {report['uuids']}")
    untouched(bench, watch, range(len(bench.uuids)))
    return f"sees no GPU; none used by a process; {len(watch.samples)} samples"


# ---- what is left alone

def noise(bench):
    """A driver counts a little for who opens a GPU and uses none of it: as much as that a GPU that is left out may change by."""
    seen = {"NVML": lambda: [bench.look() for _ in range(5)], "CUDA that sees no GPU": lambda: [bench.blind() for _ in range(3)]}
    for name, work in seen.items():
        bench.settle()
        with Watch(bench.nvml) as watch:
            work()
        used = [watch.used(index) for index in range(len(bench.uuids))]
        must(not any(watch.seen(index) for index in range(len(used))), f"{name}: a process is shown")
        seen[name] = max(max(values) - min(values) for values in used)
    bench.noise = max(seen.values())
    must(bench.noise <= MIB, f"{seen} bytes")
    return ", ".join(f"{name}: {size} bytes" for name, size in seen.items())


def untouched(bench, watch, left_out):
    for index in left_out:
        used = watch.used(index)
        must(max(used) - min(used) <= bench.noise and not watch.seen(index),
             f"GPU {index} was left out: {used[0]} bytes in use before, {min(used)} to {max(used)} while it ran, processes {watch.seen(index)}; noise {bench.noise}")


def ranks(bench, wanted):
    """NCCL over the chosen GPUs, one process for each; the others are watched from before the start until after the end."""
    bench.serve(wanted, "--ranks", "--mib", HELD_MIB)
    bench.settle()
    with Watch(bench.nvml) as watch:
        report = bench.applied()
        bench.gone()
    world = len(wanted)
    must(report["world"] == world and report["sums"] == [world * (world + 1) / 2] * world, f"{world} ranks added up to {report['sums']}")
    for rank, index in enumerate(wanted):
        must(report["ranks"][rank] in watch.seen(index), f"rank {rank} (pid {report['ranks'][rank]}) was not seen on GPU {index}")
        must(max(watch.used(index)) >= bench.baseline[index] + HELD_MIB * MIB, f"GPU {index} was not used")
    left = [index for index in range(len(bench.uuids)) if index not in wanted]
    untouched(bench, watch, left)
    return f"sum {report['sums'][0]:g} on GPUs {wanted}; {len(watch.samples)} samples, no more than {watch.slowest() * 1000:.0f} ms apart" + \
        (f"; GPUs {left} left out: no process, {max(max(watch.used(i)) - min(watch.used(i)) for i in left)} bytes" if left else "")


def one_left_out(bench):
    return ranks(bench, list(range(1, len(bench.uuids))))


def last_left_out(bench):
    return ranks(bench, list(range(len(bench.uuids) - 1)))


def all_together(bench):
    return ranks(bench, list(range(len(bench.uuids))))


# ---- what is in use by others

def size_in(text, pid):
    """Bytes in "... (pid 17) of root, 2.51 GiB", and half of what its last digit stands for."""
    found = re.search(rf"\(pid {pid}\)[^\n]*?, ([0-9.]+) (B|KiB|MiB|GiB)", text)
    must(found, f"no size of pid {pid}: {text}")
    digits = len(found[1].partition(".")[2])
    return float(found[1]) * UNITS[found[2]], UNITS[found[2]] / 10 ** digits


def occupant_is_named(bench):
    last = len(bench.uuids) - 1
    with bench.occupied(last) as (occupant,):
        plan = bench.host(gpus={"count": last + 1, "free": True})
        user = pwd.getpwuid(os.stat(f"/proc/{occupant.pid}").st_uid).pw_name
        name = Path(f"/proc/{occupant.pid}/comm").read_text().strip()
        expect(plan, HOST, BUSY, f"{last} of {last + 1} GPUs are free", f"GPU {last}: {name} (pid {occupant.pid}) of {user}, ")
        size, rounding = size_in(plan.text, occupant.pid)
        theirs = next(int(row["used_memory"]) for row in says.processes(bench.smi) if int(row["pid"]) == occupant.pid) * MIB
        must(abs(size - theirs) <= rounding + MIB and theirs >= HELD_MIB * MIB, f"{size} bytes in the plan, {theirs} by nvidia-smi")
        apply = bench.provision("apply", "--yes")
        expect(apply, HOST, BUSY, f"(pid {occupant.pid})")
    return f"exit {plan.code}; {name} (pid {occupant.pid}) of {user}, {size / UNITS['GiB']:.2f} GiB"


def occupied_is_refused(bench):
    """A service without a check of the host: nothing is started, and who holds the GPU is named."""
    last = len(bench.uuids) - 1
    with bench.occupied(last) as (occupant,):
        bench.serve([last])
        with Watch(bench.nvml) as watch:
            done = bench.provision("apply", "--yes")
        expect(done, HOST, "E0806", f"GPU {last} is not free", f"(pid {occupant.pid}, user ")
        must(watch.seen(last) == {occupant.pid} and occupant.poll() is None, f"on GPU {last}: {watch.seen(last)}, the occupant is {occupant.pid}")
        must(not bench.report.exists(), "it was started all the same")
    return f"exit {done.code}, E0806; nothing was started or ended"


def summary_counts_the_free(bench):
    count = len(bench.uuids)
    with bench.occupied(0):
        done = bench.host(gpus={"count": 1, "free": True})
        expect(done, 0, f"{count - 1} of {count} GPUs free")
    return f"\"{count - 1} of {count} GPUs free\""


# ---- what is given back

def swap(bench):
    """Another setting, with so much memory that both do not fit: the old one's must be back before the new one takes a byte."""
    last = len(bench.uuids) - 1
    bench.serve([last], "--part", PART, "--setting", "a")
    bench.settle()
    manifest = (bench.directory / "provision.yaml").read_text()
    with Watch(bench.nvml) as watch:
        old = bench.applied()
        (bench.directory / "provision.yaml").write_text(manifest.replace('"a"', '"b"'))
        new = bench.applied()
        bench.gone()
    must(old["pid"] != new["pid"] and (old["setting"], new["setting"]) == ("a", "b"), f"{old}, {new}")
    samples = [(at, *sample[last]) for at, sample in watch.samples]
    with_old = [at for at, _, pids in samples if old["pid"] in pids]
    with_new = [at for at, _, pids in samples if new["pid"] in pids]
    must(with_old and with_new and with_old[-1] < with_new[0], "both were on the GPU at once, or one never")
    between = [used for at, used, pids in samples if with_old[-1] < at < with_new[0]]
    must(between and min(between) - bench.baseline[last] < FREE_BELOW, f"between the two {between} bytes were in use, {bench.baseline[last]} before")
    peak = max(used for _, used, _ in samples)
    return f"peak {peak / UNITS['GiB']:.1f} GiB; {(with_new[0] - with_old[-1]):.1f} s between, down to {(min(between) - bench.baseline[last]) / MIB:.0f} MiB; " \
        f"{len(samples)} samples"


# Name, check, GPUs that it takes, whether it asks alone and starts nothing.
CHECKS = [
    *((f"nvidia-smi: {name}", field(function), gpus, True) for name, function, gpus in compare.FIELDS),
    ("nvidia-smi: processes while two are there", processes_of_others, 1, False),
    ("host: passes at the limit, refuses beyond it", host_limits, 1, True),
    ("host: outputs", host_outputs, 1, True),
    ("host: peer access", host_peers, 2, True),
    ("select by index", by_index, 1, False),
    ("select by UUID", by_uuid, 1, False),
    ("select by count", by_count, 1, False),
    ("select in another order", in_another_order, 2, False),
    ("select free ones", free_ones, 2, False),
    ("noise of who uses no GPU", noise, 1, False),
    ("select none", none_at_all, 1, False),
    ("NCCL on all but GPU 0", one_left_out, 2, False),
    ("NCCL on all but the last", last_left_out, 2, False),
    ("NCCL on all", all_together, 1, False),
    ("in use: plan names pid, user, size", occupant_is_named, 1, False),
    ("in use: apply starts nothing", occupied_is_refused, 1, False),
    ("in use: the summary counts the free", summary_counts_the_free, 2, False),
    ("swap: memory is back in between", swap, 1, False),
]
