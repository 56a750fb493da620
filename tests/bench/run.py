"""Compare provision's no-op and one-edit runs with ninja, make and samu, whatever of them is installed, in the same run.

run.py PROVISION [N...]     default: 1000 10000; prints medians and ratios. Runs of the candidates alternate.
"""
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "7"))
HERE = os.path.dirname(os.path.abspath(__file__))


def candidates(provision):
    """name -> (build, no-op, the command that a one-edit run times), as argv."""
    apply = [provision, "apply", "-q", "--progress", "none", "-j", "2", "provision.yaml"]
    found = {"provision": (apply, apply, apply)}
    for name, argv in (("ninja", ["ninja", "-j", "2"]), ("make", ["make", "-s", "-j2"]), ("samu", ["samu", "-j", "2"])):
        if shutil.which(name):
            found[name] = (argv, argv, argv)
    return found


def run(argv, directory):
    start = time.perf_counter()
    subprocess.run(argv, cwd=directory, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1000


def table(title, times):
    reference = statistics.median(times["ninja"]) if "ninja" in times else None
    print(f"\n{title}")
    for name, values in times.items():
        middle = statistics.median(values)
        ratio = f"{middle / reference:8.2f} x ninja" if reference else ""
        print(f"  {name:10} {middle:10.1f} ms   ({min(values):.1f} - {max(values):.1f}){ratio}")


def measure(provision, count, root):
    tools = candidates(provision)
    directories = {}
    first = {}
    for name, (build, _, _) in tools.items():
        directories[name] = f"{root}/{name}-{count}"
        subprocess.run([sys.executable, f"{HERE}/generate.py", directories[name], str(count)], check=True)
        first[name] = [run(build, directories[name])]
    table(f"{count} targets: first build", first)

    noop = {name: [] for name in tools}
    for name, (_, again, _) in tools.items():
        for _ in range(2):
            run(again, directories[name])
    for _ in range(ROUNDS):
        for name, (_, again, _) in tools.items():
            noop[name].append(run(again, directories[name]))
    table(f"{count} targets: no-op", noop)

    edit = {name: [] for name in tools}
    for turn in range(ROUNDS):
        for name, (_, _, command) in tools.items():
            with open(f"{directories[name]}/src/t000000.txt", "w") as file:
                file.write(f"edit {turn}\n")
            edit[name].append(run(command, directories[name]))
    table(f"{count} targets: edit of a bottom source", edit)


def main():
    provision = os.path.abspath(sys.argv[1])
    counts = [int(word) for word in sys.argv[2:]] or [1000, 10000]
    with tempfile.TemporaryDirectory(prefix="provision-bench-", dir=os.environ.get("BENCH_DIR")) as root:
        for count in counts:
            measure(provision, count, root)


if __name__ == "__main__":
    main()
