"""How near `audit verify --deep` comes to the hash itself: its rate against that of `openssl speed` on all cores, in the same run.

verify.py PROVISION [FILES [MIB]]     default: two files for each core, 512 MiB each, read once before so that they are cached. Runs alternate; the goal
is 0.95. On a machine with other work, `cpu` compares processor time with processor time, which neighbours disturb less.
"""
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
GOAL = 0.95
MIB = 1 << 20


def speed(cores):
    """Bytes of SHA-256 a second: on all cores by the wall clock, and of one by processor time."""
    def one(*options):
        done = subprocess.run(["openssl", "speed", "-seconds", "1", "-bytes", str(MIB), "-mr", *options, "-evp", "sha256"], check=True, capture_output=True,
                              text=True)
        return float(re.findall(r"^\+F:\d+:[^:]+:([0-9.]+)", done.stdout, re.M)[-1])
    return one("-elapsed", "-multi", str(cores)), one()


def spent():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def make(directory, files, size):
    with open(f"{directory}/provision.yaml", "w") as manifest:
        names = ", ".join(f"out/{n}" for n in range(files))
        fill = f"for n in $(seq 0 {files - 1}); do head -c {size} /dev/urandom >out/$n; done"
        manifest.write(f"provision: 1\nname: verify\ntargets:\n  bytes: {{rule: command, shell: true, command: '{fill}', outputs: [{names}]}}\n")


def cache(directory):
    """As a download leaves them: read in large pieces, so that the cache has them in large pieces."""
    for entry in os.scandir(f"{directory}/out"):
        with open(entry.path, "rb", buffering=0) as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while file.read(8 * MIB):
                pass


def main():
    provision, cores = os.path.abspath(sys.argv[1]), len(os.sched_getaffinity(0))
    files = int(sys.argv[2]) if len(sys.argv) > 2 else 2 * cores
    size = (int(sys.argv[3]) if len(sys.argv) > 3 else 512) * MIB
    total = files * size
    walls, processors = [], []
    with tempfile.TemporaryDirectory(prefix="provision-bench-", dir=os.environ.get("BENCH_DIR")) as directory:
        make(directory, files, size)
        subprocess.run([provision, "apply", "--yes", "-q"], cwd=directory, check=True, stdout=subprocess.DEVNULL)
        cache(directory)
        print(f"{cores} cores, {files} files of {size // MIB} MiB")
        for _ in range(ROUNDS):
            fastest, one = speed(cores)
            before, began = spent(), time.perf_counter()
            subprocess.run([provision, "audit", "verify", "--deep", "-qq"], cwd=directory, check=True)
            wall, processor = time.perf_counter() - began, spent() - before
            walls.append(total / wall / fastest)
            processors.append(total / processor / one)
            print(f"  openssl {fastest / 1e6:8.0f} MB/s   verify {total / wall / 1e6:8.0f} MB/s   ratio {walls[-1]:.3f}   cpu {processors[-1]:.3f}")
    middle = statistics.median(walls)
    print(f"ratio {middle:.3f} (cpu {statistics.median(processors):.3f}), goal {GOAL}: {'reached' if middle >= GOAL else 'missed'}")


if __name__ == "__main__":
    main()
