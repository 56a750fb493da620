"""What must hold on every disk that a power cut may leave.

`claims` needs no program: what the database says is compared with what the disk holds. `recovers` runs the program on it: the plan believes nothing
that is not there and changes nothing, one apply puts all right and fetches nothing that a checkpoint had, and the chain of the history is whole.
"""

import functools
import hashlib
import json
import sqlite3
import subprocess

from cut_world import EARLY, PIECE, SERVICE, VERIFIED, read_database

DATABASE = ".provision/cache.db"


class Checker:
    def __init__(self, world):
        self.world = world
        self.scratch = world.scratch / "look"
        self.scratch.mkdir()
        self.known = {}  # digests of database and -wal -> what it claims

    # ---- the database of a state ----

    def database(self, state):
        """A copy is looked at: opening a database repairs it."""
        main, wal = state.content(DATABASE), state.content(f"{DATABASE}-wal")
        if not main:
            return {"records": {}, "checkpoints": {}}
        key = (main.digest, wal.digest if wal else None)
        if key not in self.known:
            self.known[key] = self.read(main, wal)
        return self.known[key]

    def read(self, main, wal):
        for old in self.scratch.iterdir():
            old.unlink()
        (self.scratch / "cache.db").write_bytes(main.bytes)
        if wal:
            (self.scratch / "cache.db-wal").write_bytes(wal.bytes)
        try:
            return read_database(self.scratch / "cache.db")
        except sqlite3.Error as error:
            return {"records": {}, "checkpoints": {}, "damage": str(error)}

    # ---- without the program ----

    def claims(self, state, act):
        """Everything that is wrong with a state, in words."""
        database = self.database(state)
        if "damage" in database:
            yield f"the database is damaged: {database['damage']}"
        for target, fingerprint in database["records"].items():
            yield from self.record(state, act, target, fingerprint)
        for path, (node, content, _) in state.entries.items():
            if path.startswith(VERIFIED) and not node.is_dir:
                yield from self.final(path, content)
        for key, checkpoint in database["checkpoints"].items():
            yield from self.checkpoint(state, act, key, checkpoint)
        # A target starts when what it needs is recorded, and not before.
        if "out" in state.entries and act.name != "destroyed" and not {"blob", "place"} <= database["records"].keys():
            yield "`made` was begun before what it needs was recorded"

    def record(self, state, act, target, fingerprint):
        """The disk first, then the record: W1."""
        version = self.world.fingerprints.get((target, fingerprint))
        if version is None:
            yield f"`{target}` has a record of something that was never made"
            return
        is_old = self.world.fingerprints.get((act.version, target)) != fingerprint
        for path, want in self.world.expected[version][target].items():
            if holds(state, path, want) or (act.name == "destroyed" and path not in state.entries):
                continue
            # What is made anew may be in the making: a command writes over its outputs, a verified file is replaced, a mode is set.
            if is_old and (target == "made" or path in state.entries):
                continue
            yield f"`{target}` is recorded, but {path} is {shown(state, path)}, not {want}"

    def final(self, path, content):
        """A name has verified bytes or is not there: P2."""
        if "/.provision/" not in path:
            if content.digest not in self.world.right_digests(path):
                yield f"{path} has {len(content.bytes)} bytes that nobody verified"
        elif path.endswith("/files.json"):
            try:
                json.loads(content.bytes)
            except ValueError:
                yield f"{path} is torn"

    def checkpoint(self, state, act, key, checkpoint):
        """It promises bytes of a part that is there, or of a file that has its name already, for repairs: W2, W3."""
        path = key.split(":", 2)[2].removeprefix(f"{self.world.root}/")
        content = state.by_inode(checkpoint["inode"])
        final = state.content(path)
        if content is None and final and final.digest in self.world.right_digests(path):
            return
        # What is kept of a finished file goes with its record, after the file.
        if content is None and act.name == "destroyed":
            return
        if content is None:
            yield f"a checkpoint of {path} speaks of a part that has no name"
            return
        for number, (length, promised) in enumerate(checkpoint["pieces"]):
            piece = content.bytes[number * PIECE : number * PIECE + length]
            if length and tag(piece) != promised:
                yield f"piece {number} of {path} is not what its checkpoint says"

    # ---- with it ----

    def recovers(self, state, act):
        world, likeness = self.world, self.world.scratch / "stats"
        world.put_back(state, likeness)
        wanted = world.expected[act.version]
        before = self.listing()
        status, actions, said = world.plan(likeness)
        if self.listing() != before:
            yield "plan has changed something"
        for target in (t for t, action in actions.items() if action == "same"):
            for path, want in wanted[target].items():
                if not holds(state, path, want):
                    yield f"plan believes `{target}`, but {path} is {shown(state, path)}, not {want}"
        if actions.get(SERVICE) == "same":
            yield "plan believes that the service lives"
        if actions.keys() != wanted.keys():
            yield f"plan ends with {status}: {said}"
        # What another program left half written is refused, as it should be.
        if not state.content(EARLY) or state.content(EARLY).digest in world.right_digests(EARLY):
            yield from self.applies(state, act, likeness)
            world.end_services()

    def applies(self, state, act, likeness):
        world, wanted, allowed = self.world, self.world.expected[act.version], self.allowed(state, act)
        world.hub.reset()
        status, said = world.ask(likeness, "apply", "--yes")
        if status != 0:
            yield f"apply ends with {status}: {said}"
            return
        for name, size in world.hub.stats()["bytes"].items():
            if size > allowed.get(name, size):
                yield f"{size} bytes of {name} were fetched, where {allowed[name]} were missing"
        for target, place in wanted.items():
            for path, want in place.items():
                file = world.root / path
                if not file.exists() or file.is_dir() != want[0] or (not want[0] and hashlib.sha256(file.read_bytes()).hexdigest() != want[2]):
                    yield f"after apply {path} of `{target}` is not as it should be"
        if len(world.services()) != 1:
            yield f"after apply {len(world.services())} processes serve"
        left = [str(part) for part in world.root.rglob("*.part")] + [str(file) for file in world.root.rglob("*.tmp")]
        if left:
            yield f"left behind: {left}"
        status, actions, said = world.plan(likeness)
        if status != 0 or set(actions.values()) != {"same"}:
            yield f"the plan after apply has something to do: {said}"
        status, said = world.ask(likeness, "audit", "verify")
        if status != 0:
            yield f"audit after apply ends with {status}: {said}"

    def listing(self):
        return sorted((str(path), st.st_size, st.st_mtime_ns, st.st_ctime_ns) for path in self.world.root.rglob("*") for st in [path.lstat()])

    def allowed(self, state, act):
        """{name on the hub: bytes that may be fetched}: what is neither there nor promised by a checkpoint (P3)."""
        checkpoints, allowed = self.database(state)["checkpoints"], {}
        for target in ("blob", "early", "weights"):
            for path, (is_dir, _, digest) in self.world.expected[act.version][target].items():
                if is_dir:
                    continue
                name, content = path.rsplit("/", 1)[-1], state.content(path)
                checkpoint = checkpoints.get(f"part:{digest}:{self.world.root}/{path}", {"pieces": [], "inode": 0})
                # Of a file that is gone nothing is left to spare.
                promised = 0 if state.by_inode(checkpoint["inode"]) is None else sum(length for length, _ in checkpoint["pieces"])
                size = self.world.size_on_hub(target, name, act.version)
                allowed[name] = 0 if content and content.digest == digest else size - promised
        return allowed


GMAC = ("openssl", "mac", "-cipher", "aes-128-gcm", "-macopt", "hexkey:" + 32 * "0", "-macopt", "hexiv:" + 24 * "0", "GMAC")


@functools.cache
def tag(piece):
    """What engine/base/digest.h calls a tag, by somebody else."""
    return subprocess.run(GMAC, input=piece, capture_output=True, check=True).stdout.decode().strip().lower()


def holds(state, path, want):
    entry = state.entries.get(path)
    if not entry:
        return False
    node, content, mode = entry
    return (node.is_dir, mode, None if node.is_dir else content.digest) == want


def shown(state, path):
    entry = state.entries.get(path)
    if not entry:
        return "missing"
    node, content, mode = entry
    return f"a directory, {mode:o}" if node.is_dir else f"{len(content.bytes)} bytes, {mode:o}, {content.digest[:12]}"
