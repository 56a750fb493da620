"""A project directory with manifests, the binary that works on it, and the questions that several tests ask about both."""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from story import BINARY, Result, Running, environment, run

REPOSITORY = Path(__file__).resolve().parents[2]


class Project:
    """A directory in which provision runs with a clean environment."""

    def __init__(self, root, **env):
        self.root = Path(root)
        self.root.mkdir(parents=True, exist_ok=True)
        self.home = self.root.parent / f"{self.root.name}-home"
        self.home.mkdir(exist_ok=True)
        self.env = environment(self.home, **env)

    # ---- files

    def path(self, name):
        return self.root / name

    def write(self, name, content):
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content)
        return path

    def read(self, name):
        return self.path(name).read_text()

    def edit(self, name, old, new):
        text = self.read(name)
        assert text.count(old) == 1, f"{name}: {text.count(old)} x {old!r}"
        self.write(name, text.replace(old, new))

    def copy(self, directory):
        shutil.copytree(directory, self.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".provision", "work", "__pycache__"))

    def tree(self, under="."):
        """All that a command could have changed: names, kinds, sizes, times, and what small files hold."""
        seen = {}
        for path in sorted(self.path(under).rglob("*")):
            stat = path.lstat()
            content = path.read_bytes() if path.is_file() and stat.st_size < 4 << 20 else None
            seen[str(path.relative_to(self.root))] = (stat.st_mode, stat.st_ino, stat.st_size, stat.st_mtime_ns, content)
        return seen

    # ---- the program

    def run(self, *arguments, timeout=60, **more):
        return run([str(a) for a in arguments], self.root, self.env | {k: str(v) for k, v in more.items()}, timeout)

    def ok(self, *arguments, **more):
        done = self.run(*arguments, **more)
        assert done.code == 0, done
        return done

    def apply(self, *arguments, **more):
        return self.run("apply", "--yes", *arguments, **more)

    def applied(self, *arguments, **more):
        return self.ok("apply", "--yes", *arguments, **more)

    def ended(self, *arguments, **more):
        """Apply; {target: result} of what was really done. A target that came out the same is `same`."""
        done = self.apply("--json", *arguments, **more)
        return {e["target"]: "same" if e["same"] else e["result"] for e in assert_events(done) if e["type"] == "target_end"}

    def planned(self, *arguments):
        """{target: [ids of its reasons]} for all that is not up to date."""
        done = self.run("plan", "--json", *arguments)
        assert_events(done)
        return done.planned()

    def start(self, *arguments, **more):
        return Running([str(a) for a in arguments], self.root, self.env | more)

    def nothing_to_do(self, *arguments):
        done = self.ok("plan", "--detailed-exitcode", *arguments)
        assert "Nothing to do" in done.out, done


def assert_events(done):
    """The stream is JSON Lines: `version` first, `seq` from 0 without gaps, one `summary` with the real exit status, last; nothing on stderr."""
    events = done.events()
    assert events and events[0]["type"] == "version" and events[0]["v"] == "1.0", done
    assert [e["seq"] for e in events] == list(range(len(events))), done
    assert all("type" in e and e["ts"].endswith("Z") for e in events), done
    assert done.err == "", done
    summaries = [e for e in events if e["type"] == "summary"]
    if events[0].get("command") in ("apply", "destroy"):
        assert len(summaries) == 1 and events[-1] is summaries[0] and summaries[0]["exit"] == done.code, done
    return events


def diagnostics(done):
    return [e for e in done.events() if e["type"] == "diagnostic"]


def assert_refused(done, status, code, *words):
    """It ended with this status, said this code, named the culprit, and did not come to grief in another way."""
    assert done.code == status, done
    assert f"[{code}]" in done.text or f'"{code}"' in done.text, done
    for word in words:
        assert word in done.text, done
    assert "E0999" not in done.text and "Sanitizer" not in done.text, done


def processes(word):
    """Pids of all processes with this word on their command line, the caller's apart."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes() and int(pid) != os.getpid():
                found.append(int(pid))
    return found


def run_limited(project, arguments, seconds=2, memory=512 << 20):
    """As Project.run, within so much time and address space."""
    command = f"ulimit -v {memory >> 10}; exec \"$0\" \"$@\""
    limited = [] if "ASAN_OPTIONS" in project.env and is_sanitized() else ["/bin/sh", "-c", command]
    done = subprocess.run([*limited, BINARY, *map(str, arguments)], cwd=project.root, env=project.env, stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=seconds if limited else seconds * 10)
    return Result([str(a) for a in arguments], done.returncode, done.stdout.decode(), done.stderr.decode())


def is_sanitized():
    """AddressSanitizer reserves terabytes of address space, which no limit on it survives."""
    return b"__asan_init" in Path(shutil.which(BINARY)).read_bytes()
