"""The run that is cut: a project with every kind of write, on a hub, and the same project put back as one of its possible disks.

Four acts, recorded one after the other: an apply that loses its connection in the middle of a file, one that goes on from there, one after edits
(files are replaced, a command writes over its outputs, the service is swapped), and a destroy.
"""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))

from hubs import make_model, running_hub  # noqa: E402
from story import environment  # noqa: E402

PIECE = 65536  # of provision-fire
BLOB_SIZE, EARLY_SIZE, SHARD_SIZE = 200_000, 150_000, 180_000
CUT_SHORT = 100_000  # bytes after which the first act loses its connection
SHARD = "model-00001-of-00002.safetensors"
TIMEOUT = 60

MANIFEST = """provision: 1
name: cut
targets:
  place: {{rule: directory, path: data/place/deep, mode: "{mode}"}}
  blob: {{rule: download, url: "{hub}/plain/acme/files/blob.bin", path: data/files/new/blob.bin, sha256: {blob}, size: {blob_size}}}
  early: {{rule: download, url: "{hub}/plain/acme/files/early.bin", path: {early_path}, sha256: {early}}}
  weights: {{rule: model, source: "huggingface:acme/tiny@{revision}", dir: models/tiny, include: ["*.safetensors", "*.json"]}}
  made:
    rule: command
    command: [sh, make.sh]
    inputs: [make.sh, input.txt, data/files/new/blob.bin]
    outputs: [out/result.bin, out/tree, out/lone/text]
    needs: [place]
  service:
    rule: service
    runtime: process
    needs: [weights, made]
    command: [{stand_in}, serve, "{{host}}", "{{port}}"]
    env: {{EDITION: "{version}"}}
    port: {port}
    ready: {{timeout: 10s, interval: 10ms}}
    stop_timeout: 2s
"""

SCRIPT = """set -e
mkdir -p out/tree/sub
cat input.txt data/files/new/blob.bin >out/result.bin
cat input.txt >out/tree/sub/text
cat input.txt >out/lone/text
cat data/files/new/blob.bin >out/tree/copy
"""

# Where each target's product lies; what is in a directory of `.provision` is bookkeeping.
PLACES = {"place": "data/place", "blob": "data/files", "early": "early", "weights": "models", "made": "out"}
EARLY = "early/early.bin"
MODES = {1: "0750", 2: "0700"}
SERVICE = "service"  # has no files to go by, but a process, which no power cut leaves
# Only whole and verified files ever have a name there.
VERIFIED = ("data/files/", "models/")


class Act:
    """One command of the recording; `version` of the manifest it runs with, and whether that is written just before."""

    def __init__(self, name, version, arguments, edits=False, fails=False):
        self.name, self.version, self.arguments, self.edits, self.fails = name, version, arguments, edits, fails


ACTS = (
    Act("cut-short", 1, ("apply", "--yes", "--keep-going=0"), edits=True, fails=True),
    Act("goes-on", 1, ("apply", "--yes")),
    Act("edited", 2, ("apply", "--yes"), edits=True),
    Act("destroyed", 2, ("destroy", "--yes", SERVICE, "weights", "blob", "early", "made", "place")),
)


def free_port():
    """Below those that the kernel deals out."""
    while True:
        port = random.SystemRandom().randrange(20000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class World:
    """Directory, hub and programs. `expected[version][target]` is {path: (is_dir, mode, digest)}."""

    def __init__(self, scratch, programs):
        self.scratch, self.programs = Path(scratch), Path(programs)
        self.root, self.log = self.scratch / "project", self.scratch / "log"
        self.expected, self.fingerprints = {}, {}
        self.hub = None
        self.port = free_port()

    # ---- the hub ----

    def serve(self, stack):
        root = self.scratch / "hub"
        files = root / "acme" / "files"
        files.mkdir(parents=True)
        # Not compressible and not alike, so that a hole or a piece in the wrong place changes every digest.
        make_model(root / "acme" / "tiny", shard_bytes=1000)
        for version in (1, 2):
            make_model(root / "acme" / f"tiny@v{version}", shard_bytes=SHARD_SIZE, seed=version)
        for name, size in (("blob.bin", BLOB_SIZE), ("early.bin", EARLY_SIZE)):
            (files / name).write_bytes(b"".join(hashlib.sha256(b"%s %d" % (name.encode(), n)).digest() for n in range(size // 32 + 1))[:size])
        self.files = files
        self.models = root / "acme"
        self.hub = stack.enter_context(running_hub(root))

    def size_on_hub(self, target, name, version):
        return ((self.models / f"tiny@v{version}" if target == "weights" else self.files) / name).stat().st_size

    # ---- the recording ----

    def mark(self, op, name="-"):
        with open(self.log, "ab") as log:
            log.write(f"{op} 0 {name} - 0 0 0 0 0\n".encode())

    def put(self, path, content):
        """A file of the user's, durable before the next act: written down by hand."""
        file = self.root / path
        file.write_bytes(content)
        st = file.stat()
        tail = f"{st.st_mode & 0o7777:o} {st.st_mtime_ns} {st.st_ctime_ns}\n"
        with open(self.log, "ab") as log:
            log.write(f"C {st.st_ino} {path} - 0 0 {tail}Z {st.st_ino} {path} - 0 0 {tail}W {st.st_ino} {path} - 0 {len(content)} {tail}".encode())
            log.write(content)

    def write_version(self, version):
        blob, early = ((self.files / name).read_bytes() for name in ("blob.bin", "early.bin"))
        manifest = MANIFEST.format(hub=self.hub.url, blob=sha256(blob), blob_size=len(blob), early=sha256(early), early_path=EARLY, mode=MODES[version],
                                   stand_in=self.programs / "stand_in", port=self.port, version=version,
                                   revision=f"v{version}")
        self.put("provision.yaml", manifest.encode())
        self.put("input.txt", f"input of version {version}\n".encode() * 1000)
        self.mark("A")

    def run(self, arguments, preload, **env):
        env = environment(self.scratch, HF_ENDPOINT=self.hub.url, LD_PRELOAD=" ".join(self.runtime() + [str(self.programs / preload)]), **env)
        # A sanitizer's own memory is not the program's.
        env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
        return subprocess.run([str(a) for a in arguments], cwd=self.root, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT)

    def runtime(self):
        """A sanitizer's library wants to be the first."""
        told = subprocess.run(["ldd", self.binary], capture_output=True, text=True, check=True).stdout
        return [line.split()[2] for line in told.splitlines() if "libasan" in line]

    @property
    def binary(self):
        return str(self.programs / "provision-fire")

    def record(self):
        self.root.mkdir()
        self.put("make.sh", SCRIPT.encode())
        for act in ACTS:
            if act.edits:
                self.write_version(act.version)
            if act is ACTS[0]:
                self.leave_early()
            self.mark("P", act.name)
            self.hub.reset()
            if act.fails:
                self.hub.fault(SHARD, "truncate", arg=CUT_SHORT)
                self.hub.fault(SHARD, "404", -1)
            done = self.run([self.binary, *act.arguments], "libcutlog.so", CUT_DIR=self.root, CUT_LOG=self.log)
            if (done.returncode == 0) == act.fails:
                raise RuntimeError(f"{act.name}: status {done.returncode}\n{done.stdout.decode()}{done.stderr.decode()}")
            self.mark("P")
            if act.arguments[0] == "apply" and not act.fails:
                self.expect(act.version)
        self.hub.reset()
        self.end_services()

    def leave_early(self):
        """A file that was there before, right but not synced, in a directory that was: it is adopted."""
        watched = {"CUT_DIR": self.root, "CUT_LOG": self.log}
        self.run(["mkdir", "early"], "libcutlog.so", **watched)
        self.mark("A")
        self.run(["cp", self.files / "early.bin", EARLY], "libcutlog.so", **watched)

    # ---- the service ----

    def services(self):
        """Process ids of all that serve for this project."""
        words, found = [str(self.programs / "stand_in"), "serve", "127.0.0.1", str(self.port)], []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1] == words:
                    found.append(int(pid))
            except OSError:
                continue
        return found

    def end_services(self):
        """As the power cut does."""
        until = time.monotonic() + 10
        while (found := self.services()) and time.monotonic() < until:
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)

    # ---- what is right ----

    def look(self, place):
        found, top = {}, self.root / place
        for path in [top, *sorted(top.rglob("*"))]:
            name, st = str(path.relative_to(self.root)), path.lstat()
            if ".provision" not in path.parts:
                found[name] = (path.is_dir(), st.st_mode & 0o7777, None if path.is_dir() else sha256(path.read_bytes()))
        return found

    def expect(self, version):
        self.expected[version] = {SERVICE: {}} | {target: self.look(place) for target, place in PLACES.items()}
        for target, fingerprint in read_database(self.root / ".provision/cache.db")["records"].items():
            self.fingerprints.setdefault((target, fingerprint), version)
            self.fingerprints[version, target] = fingerprint

    def right_digests(self, path):
        return {files[path][2] for targets in self.expected.values() for files in targets.values() if path in files}

    # ---- a disk ----

    def put_back(self, state, likeness):
        """The directory as the state has it, and the table by which each file shows the inode and times that it had."""
        if self.root.exists():
            shutil.rmtree(self.root)
        self.root.mkdir()
        for path, (node, content, mode) in state.entries.items():
            if node.is_dir:
                (self.root / path).mkdir()
            else:
                (self.root / path).write_bytes(content.bytes)
        for path, (node, _, mode) in reversed(state.entries.items()):
            (self.root / path).chmod(mode)
        lines = [str(self.root.stat().st_dev)]
        for path, (node, _, _) in state.entries.items():
            st = (self.root / path).lstat()
            lines.append(f"{st.st_ino} {st.st_ctime_ns} {node.inode} {node.times[0]} {node.times[1]}")
        likeness.write_text("\n".join(lines) + "\n")

    def ask(self, likeness, *arguments):
        """Run the program on the disk that was put back: status, and what it said."""
        done = self.run([self.binary, *arguments], "libcutstat.so", CUT_STATS=likeness)
        return done.returncode, (done.stdout + done.stderr).decode(errors="replace")

    def plan(self, likeness):
        """Status, {target: action}, and what it said."""
        status, said = self.ask(likeness, "plan", "--json")
        events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        return status, {e["target"]: e["action"] for e in events if e["type"] == "target_planned"}, said


# ---- what a database claims ----


def fields(body):
    at = 0
    while at < len(body):
        size = int.from_bytes(body[at : at + 4], "little")
        yield body[at + 4 : at + 4 + size]
        at += 4 + size


def read_checkpoint(body):
    """As part_save in rules/client/transfer_open.c packs it."""
    words = list(fields(body))
    _, size, _, inode, count = (int.from_bytes(word, "little") for word in words[:5])
    pieces = [(int.from_bytes(words[5 + 2 * i], "little"), words[6 + 2 * i].hex()) for i in range(count)]
    return {"size": size, "inode": inode, "pieces": pieces}


def read_database(path):
    """{records, checkpoints} of a database that may be changed by looking at it; raises sqlite3.Error where it is damaged."""
    database = sqlite3.connect(path)
    try:
        answer = database.execute("PRAGMA integrity_check").fetchone()[0]
        if answer != "ok":
            raise sqlite3.DatabaseError(answer)
        records = {target: fingerprint.hex() for target, fingerprint in database.execute("SELECT target, fingerprint FROM record")}
        checkpoints = {key: read_checkpoint(body) for key, body in database.execute("SELECT key, bytes FROM checkpoint WHERE key LIKE 'part:%'")}
        return {"records": records, "checkpoints": checkpoints}
    finally:
        database.close()
