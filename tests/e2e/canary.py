"""One secret a run, in the environment of every provision that a test starts; at the end it is looked for wherever it must not be.

Looked through: what every command said; all files below the session's temporary directory, byte by byte, so that a database is searched with its WAL and its free pages; the command lines
of all processes and the environments of those that provision started, sampled while it runs; and what an engine tells of containers and images before a test removes them.

Where the secret may be: in the environment of provision itself, which the test gave it; in that of a service which got it by `env_from`, in a variable that the test names by `permit`;
in a file that the test wrote itself and names by `permit`. A service's variable is also seen by `docker inspect`, of which the plan warns (W0802).
"""

import base64
import binascii
import json
import mmap
import os
import secrets
import threading
from pathlib import Path

CORE = secrets.token_hex(16)                  # the same in plain text, in JSON and in a URL
SECRET = f"canary +/\"\\&={CORE}"             # with all that is written in another way there
VARIABLES = ("HF_TOKEN", "MODELSCOPE_API_TOKEN", "VLLM_API_KEY", "CANARY")
PERIOD = 0.03                                 # seconds between two looks at the processes
LOOKS = 5                                     # at each process: between fork and exec it is another one

found = []                                    # what must be empty at the end
searched = {"outputs": 0, "files": 0, "bytes": 0, "databases": 0, "processes": 0, "engine objects": 0}
_variables, _files = set(), set()


def _needles():
    """The secret's core as it is, in hexadecimal digits, and in base64 at each of three positions."""
    core = CORE.encode()
    inner = [base64.b64encode(b"\0" * shift + core)[4 if shift else 0 : -4] for shift in range(3)]
    return [core, core.upper(), binascii.hexlify(core), *inner]


NEEDLES = _needles()


def environment():
    return dict.fromkeys(VARIABLES, SECRET)


def permit(name=None, path=None):
    """A variable of a service's environment, or a file, that holds the secret because a test wants it to."""
    if name:
        _variables.add(name)
    if path:
        _files.add(str(path))


def holds(content):
    return any(content.find(needle) >= 0 for needle in NEEDLES)


def look(content, where):
    """Note it if the secret is in there; whether it is not."""
    content = content.encode(errors="surrogateescape") if isinstance(content, str) else content
    clean = not holds(content)
    if not clean:
        found.append(where)
    return clean


def look_at_output(arguments, text):
    searched["outputs"] += 1
    look(text, f"output of provision {' '.join(arguments)}")


# ------------------------------------------------------------------ files


def _look_at_file(path):
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                return
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                look(content, f"file {path}")
    except (OSError, ValueError):
        return
    searched["files"] += 1
    searched["bytes"] += size
    searched["databases"] += path.name.startswith("cache.db")


def look_at_files(root):
    for directory, _, names in os.walk(root):
        look("\0".join(names), f"names in {directory}")
        for name in names:
            path = Path(directory) / name
            if path.is_file() and not path.is_symlink() and str(path) not in _files:
                _look_at_file(path)


# ------------------------------------------------------------------ processes


def _is_provision(pid):
    return os.path.basename(os.readlink(f"/proc/{pid}/exe")).startswith("provision")


def _started_by_provision(pid):
    """Whether a provision is among its ancestors, or nobody of ours any more."""
    while True:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            parent = int(file.read().rsplit(")", 1)[1].split()[1])
        if parent == os.getpid():
            return False
        if parent <= 1 or _is_provision(parent):
            return True
        pid = parent


def _permitted(entry):
    return entry.partition(b"=")[0].decode(errors="replace") in _variables


def _secret_entries(pid):
    with open(f"/proc/{pid}/environ", "rb") as file:
        return [entry for entry in file.read().split(b"\0") if holds(entry) and not _permitted(entry)]


class Watcher:
    """Samples the processes of the machine while the session lasts."""

    def __init__(self):
        self.looks, self.stop = {}, threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def watch(self):
        while not self.stop.wait(PERIOD):
            pids = set(filter(str.isdigit, os.listdir("/proc")))
            self.looks = {pid: count for pid, count in self.looks.items() if pid in pids}
            for pid in pids:
                count = self.looks[pid] = self.looks.get(pid, 0) + 1
                if count <= LOOKS or count % 64 == 0:
                    try:
                        self.look(pid)
                    except (OSError, ValueError, IndexError):
                        continue

    def look(self, pid):
        searched["processes"] += self.looks[pid] == 1
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            look(line := file.read(), f"command line of {pid}: {line[:40]}")
        entries = _secret_entries(pid)
        if not entries or int(pid) == os.getpid() or _is_provision(pid) or not _started_by_provision(pid):
            return
        # Between fork and exec a child has the environment of provision: what it has itself is there for longer.
        entries = _secret_entries(pid)
        if entries:
            found.append(f"environment of {pid}, {line[:40]}: {[entry.partition(b'=')[0] for entry in entries]}")


# ------------------------------------------------------------------ an engine


def _without_permitted(value):
    if isinstance(value, dict):
        return {key: _without_permitted(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_permitted(one) for one in value if not (isinstance(one, str) and _permitted(one.encode()))]
    return value


def look_at_engine(docker, containers, images):
    """`docker` runs the command and gives its output."""
    for container in containers:
        told = json.dumps(_without_permitted(json.loads(docker("inspect", container))))
        look(told, f"docker inspect {container}")
        look(docker("logs", container), f"docker logs {container}")
    for image in images:
        look(docker("image", "inspect", image), f"docker image inspect {image}")
        look(docker("history", "--no-trunc", image), f"docker history {image}")
    searched["engine objects"] += len(containers) + len(images)
