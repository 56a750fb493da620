"""What must hold, judged without the program's help wherever that can be: files by their bytes, the database by reading a copy of it, processes by /proc, fetched bytes by the hub's log."""

import hashlib
import os
import re
import shutil
import sqlite3
import stat
import struct

from ground import PIECE

INDEX = "tiny/model.safetensors.index.json"
OLD_LOGS = 3 # of services that are gone


class Broken(Exception):
    """An invariant that does not hold: its kind, and what was seen."""

    def __init__(self, kind, what):
        super().__init__(f"{kind}: {what}")
        self.kind = kind


def read(path):
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def snapshot(directory):
    """All that a reader could have changed."""
    seen = {}
    for path, names, files in os.walk(directory):
        for name in [*names, *files, "."]:
            at = os.path.join(path, name)
            st = os.lstat(at)
            seen[at] = st.st_mode, st.st_ino, st.st_size, st.st_mtime_ns, st.st_ctime_ns
    return seen


# ---- the database, from a copy

def unpack(body):
    """Fields with their lengths before them: engine/base/pack.c."""
    at, fields = 0, []
    while at < len(body):
        (size,) = struct.unpack_from("<I", body, at)
        fields.append(body[at + 4 : at + 4 + size])
        at += 4 + size
    return fields


def checkpoints(ground):
    """{(device, inode) of a part: bytes that were recorded as verified}; of a database that is whole."""
    state, copy = ground.project / ".provision", ground.root / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    found = {}
    for name in ("cache.db", "cache.db-wal"):
        if (state / name).exists():
            shutil.copy(state / name, copy / name)
    if not (copy / "cache.db").exists():
        return found
    database = sqlite3.connect(copy / "cache.db")
    try:
        (answer,) = database.execute("PRAGMA integrity_check").fetchone()
        if answer != "ok":
            raise Broken("database", answer)
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'checkpoint'").fetchone():
            return found
        for (body,) in database.execute("SELECT bytes FROM checkpoint WHERE key LIKE 'part:%'"):
            fields = unpack(body)
            device, inode, count = (struct.unpack("<q", field)[0] for field in fields[2:5])
            lengths = [struct.unpack("<q", fields[5 + 2 * i])[0] for i in range(count)]
            found[device, inode] = sum(lengths)
    except sqlite3.DatabaseError as error:
        raise Broken("database", error) from error
    finally:
        database.close()
    return found


# ---- after the strike

def check_names(ground):
    """A final name has the verified bytes or does not exist (P2)."""
    expected = ground.expected()
    for path, content in (expected["archive"] | expected["weights"]).items():
        found = read(ground.project / path)
        if found is not None and found != content:
            raise Broken("wrong final file", f"{path}: {len(found)} of {len(content)} bytes")


def is_serving(ground):
    return any(words[1:2] == ["serve"] and f"EDITION={ground.edition}\0".encode() in ground.environ(pid) for pid, words in ground.processes().items())


def check_service(ground):
    if not is_serving(ground):
        raise Broken("false fresh", "service: no process of this edition")


def check_fresh(ground, again=False):
    """What `plan` calls fresh is right (P1), and asking changed nothing (P5)."""
    ground.wait_for_commands()
    before = snapshot(ground.project)
    plan = ground.run("plan", "--json")
    if snapshot(ground.project) != before:
        changed = sorted(set(before.items()) ^ set(snapshot(ground.project).items()))
        raise Broken("plan changed something", changed)
    if plan.code != 0:
        raise Broken("plan fails", plan)
    expected = ground.expected()
    fresh = [e["target"] for e in plan.events() if e["type"] == "target_planned" and e["action"] == "same" and not e.get("reasons")]
    for target in fresh:
        for path, content in expected.get(target, {}).items():
            if read(ground.project / path) != content:
                raise Broken("false fresh", f"{target}: {path}")
        if target == "work":
            check_directory(ground)
        if target == "service" and not is_serving(ground) and not again:
            # It was on its way down: asked again, nobody may call it fresh.
            return check_fresh(ground, again=True)
        if target == "service":
            check_service(ground)
    return fresh


def check_directory(ground):
    work = ground.project / "work"
    if not work.is_dir() or stat.S_IMODE(work.stat().st_mode) != 0o750:
        raise Broken("false fresh", "work: no directory of that mode")


def name_at_hub(path):
    return f"{'tiny' if path.startswith('work/model/') else 'files'}/{path.rsplit('/', 1)[1]}"


def most_to_fetch(ground):
    """{file: bytes that the next run may ask for}, but for the index, which is read like a listing: all that is neither in place nor recorded as verified; and no checkpoint is more than a piece behind (P3)."""
    recorded, parts, most = checkpoints(ground), {}, {}
    for directory in (ground.project / "work", ground.project / "work" / "model"):
        for part in (directory / ".provision" / "parts").glob("*.part"):
            st = part.stat()
            parts[part.name.split(".")[0].split("-")[0]] = st.st_size, recorded.get((st.st_dev, st.st_ino), 0)
    expected = ground.expected()
    for path, content in (expected["archive"] | expected["weights"]).items():
        name = name_at_hub(path)
        if name == INDEX:
            continue
        if read(ground.project / path) is not None:
            most[name] = 0
            continue
        written, verified = part_of(parts, content)
        if written - verified > PIECE:
            raise Broken("checkpoint too late", f"{name}: {written} bytes written, {verified} recorded")
        most[name] = len(content) - verified
    return most


def part_of(parts, content):
    """Parts are named by the digest that the file is to have."""
    git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    for key in (hashlib.sha256(content).hexdigest(), git):
        for name, lengths in parts.items():
            if name and (key.startswith(name) or name.startswith(key)):
                return lengths
    return 0, 0


# ---- in the end

def check_fetched(ground, most):
    sent, spans = ground.sent()
    for name, limit in most.items():
        if sent.get(name, 0) > limit:
            raise Broken("fetched again", f"{name}: {sent[name]} bytes, at most {limit} were missing; {[s for s in spans if s[0] == name]}")


def check_applied(ground):
    """Everything is there and right, nothing else is, and the program agrees."""
    expected = ground.expected()
    for path, content in (expected["archive"] | expected["weights"] | expected["built"]).items():
        if read(ground.project / path) != content:
            raise Broken("wrong final file", path)
    check_directory(ground)
    check_modes(ground, expected)
    check_processes(ground, 1)
    check_service(ground)
    check_leftovers(ground)
    plan = ground.run("plan", "--detailed-exitcode")
    if plan.code != 0 or "Nothing to do" not in plan.out:
        raise Broken("still to do", plan)
    audit = ground.run("audit", "verify", "--deep")
    if audit.code != 0:
        raise Broken("audit", audit)


def check_modes(ground, expected):
    """A container's user can read what is kept for it."""
    modes = {"work/model": 0o755, "work/archive.bin": 0o440} | dict.fromkeys(expected["weights"], 0o444)
    for path, mode in modes.items():
        found = stat.S_IMODE((ground.project / path).stat().st_mode)
        if found != mode:
            raise Broken("wrong mode", f"{path}: {found:04o}, not {mode:04o}")


def check_gone(ground):
    """Nothing is left but what `destroy` keeps: the weights, and the way to them."""
    expected = ground.expected()
    for path in expected["archive"] | expected["built"]:
        if (ground.project / path).exists():
            raise Broken("not removed", path)
    check_processes(ground, 0)
    check_leftovers(ground)


def check_processes(ground, count):
    found = ground.processes()
    if len(found) != count:
        raise Broken("orphan", found)


def check_leftovers(ground):
    for path, names, files in os.walk(ground.project):
        for name in [*names, *files]:
            if name.endswith((".part", ".tmp")):
                raise Broken("leftover", os.path.join(path, name))
    kept = list((ground.project / ".provision" / "runtime").rglob("*"))
    kept = [path for path in kept if path.is_file()]
    if len(kept) > len(ground.processes()) + OLD_LOGS or any(path.suffix != ".log" for path in kept):
        raise Broken("leftover", kept)


def resumable(ground):
    """Files of which a part was recorded: hub's names."""
    expected, most = ground.expected(), most_to_fetch(ground)
    return {name_at_hub(path) for path, content in (expected["archive"] | expected["weights"]).items() if 0 < most.get(name_at_hub(path), 0) < len(content)}


# ---- what a failing call may lead to

READS = "read pread64 getdents64 statfs fstatfs newfstatat fstat stat lstat statx readlink readlinkat access faccessat faccessat2".split()
OPENS = "open openat openat2".split()
NAMES = "mkdir mkdirat rename renameat renameat2 link linkat symlink unlink unlinkat rmdir".split()
WRITES = "write pwrite64 writev pwritev ftruncate fallocate copy_file_range fsync fdatasync".split()
# Not what gives a lock back: the kernel needs nothing for that, and SQLite never looks whether it did.
LOCKS = "lock getlock flock".split()
CALLS = {"ENOSPC": WRITES + OPENS + NAMES, "EDQUOT": WRITES + OPENS + NAMES, "EROFS": WRITES + OPENS + NAMES + ["fchmod", "fchmodat", "fchown", "utimensat"],
         "EIO": WRITES + OPENS + NAMES + READS + ["close", "fchmod", "mmap"], "EINTR": WRITES + OPENS + READS + ["close"] + LOCKS, "EMFILE": OPENS,
         "ENOMEM": OPENS + NAMES + READS + ["mmap", "fchmod"], "ENOLCK": LOCKS, "EAGAIN": ["lock", "flock"]}
BUSY = "database is locked", "locking protocol", "holds the new database"  # what SQLite makes of a lock that it does not get
WORDS = {"ENOSPC": ("No space left on device", "disk is full"), "EDQUOT": ("Disk quota exceeded",), "EIO": ("Input/output error",),
         "EINTR": ("Interrupted system call",), "EROFS": ("Read-only file system",), "EMFILE": ("Too many open files",), "ENOMEM": ("Cannot allocate memory",),
         "ENOLCK": ("No locks available", *BUSY), "EAGAIN": ("holds the lock of this project", *BUSY)}
STATUSES = {"ENOSPC": (73, 74), "EDQUOT": (73, 74), "EROFS": (73, 74), "EIO": (74,), "EINTR": (74,), "EMFILE": (74,), "ENOMEM": (74,),
            "ENOLCK": (74, 75), "EAGAIN": (75,)}


def outcome_of_success(ended, struck):
    """The outcome of a run that was not struck, or that the strike did not harm; None: it was refused something, and how it ended is to be judged."""
    if struck == 0 and ended.code != 0:
        raise Broken("fails unstruck", ended)
    return "over before" if struck == 0 else "survived" if ended.code == 0 else None


def judge_error(ground, ended, struck, call, job):
    """Either it did not matter, and then all is there; or the run ends with the documented status and one message that names path and cause."""
    error, for_ever = job.error, job.for_ever
    if (outcome := outcome_of_success(ended, struck)) is not None:
        return outcome
    # An open for writing that fails once is tried again by SQLite for reading: its own answer is all that is left.
    if ended.code == 77 and re.search(r"cache\.db(\.new)?`(: attempt to write a readonly database| may not be written to)", ended.err) and call.startswith("open"):
        return "refused"
    if ended.code not in STATUSES[error]:
        raise Broken("wrong status", f"{ended.code} after {call}\n{ended}")
    messages = [line for line in (ended.out + ended.err).splitlines() if line.startswith("error[")]
    # What fails for ever fails the target, and then the cache in which that is to be recorded.
    if not messages or len(messages) > (2 if for_ever else 1) or len(set(messages)) < len(messages):
        raise Broken("not one message", f"{len(messages)} after {call}\n{ended}")
    if not any(words in ended.out + ended.err for words in (*WORDS[error], "unable to open database file")):
        raise Broken("no cause", f"after {call}\n{ended}")
    if str(ground.project) not in messages[0] and "`" not in messages[0]:
        raise Broken("no path", f"after {call}\n{ended}")
    return "refused"


MEMORY_STATUSES = (1, 69, 70, 74)  # 1 and 69: a connection without memory is one without an answer
MEMORY_WORDS = ("out of memory", "memory has run out", "Cannot allocate memory", "Resource temporarily unavailable", "libcurl.so.4 cannot be loaded")


def judge_memory(ended, struck):
    """Where it matters, one message says so, and the status is that of a run that could not go on."""
    if (outcome := outcome_of_success(ended, struck)) is not None:
        return outcome
    messages = [line for line in (ended.out + ended.err).splitlines() if line.startswith(("error[", "provision: "))]
    # What has no memory to go on may have none for the way back either.
    if not 1 <= len(set(messages)) == len(messages) <= 2:
        raise Broken("not one message", ended)
    if (ended.code == 70) != messages[0].startswith("provision: ") or ended.code not in MEMORY_STATUSES:
        raise Broken("wrong status", ended)
    if not any(words in ended.out + ended.err for words in MEMORY_WORDS):
        raise Broken("no cause", ended)
    return "refused"
