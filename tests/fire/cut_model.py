"""What a disk may hold after a power cut: the log of cutlog.so, replayed over a model of what is durable.

Durable are the content of a file as of its last sync, and the names of a directory as of its last sync. What came later is pending, and each state
after a cut has some of it: a prefix of the names, any subset of the writes, a large write cut at a multiple of 512 bytes. In the ordinary model (ext4,
xfs, btrfs) the sync of a file or directory makes its own name durable too, and the way to it; in the strict one, which POSIX allows, it does not.
"""

import hashlib
import os
import random

SECTOR = 512
LEFT_OUT = ("-shm",)  # not durable by design


class Content:
    """Bytes and their digest, which is made once."""

    __slots__ = ("bytes", "_digest")

    def __init__(self, content):
        self.bytes, self._digest = bytes(content), None

    @property
    def digest(self):
        if not self._digest:
            self._digest = hashlib.sha256(self.bytes).hexdigest()
        return self._digest


EMPTY = Content(b"")


class Node:
    """One file or directory: what is durable of it, what it is, and what lies between."""

    def __init__(self, inode, is_dir, mode):
        self.inode, self.is_dir = inode, is_dir
        self.mode = self.durable_mode = mode
        self.times = (0, 0)
        self.live, self.durable = bytearray(), EMPTY
        self.pending = []  # (offset, bytes), or (size, None)
        self._whole = EMPTY

    def apply(self, op):
        patch(self.live, op)
        self.pending.append(op)
        self._whole = None

    def sync(self):
        self.durable, self.pending, self.durable_mode = self.whole(), [], self.mode

    def whole(self):
        if self._whole is None:
            self._whole = Content(self.live)
        return self._whole

    def some(self, chance):
        """The durable bytes with any of the pending writes, some of them torn."""
        content = bytearray(self.durable.bytes)
        for at, piece in self.pending:
            if chance.random() < 0.5:
                continue
            if piece is not None and len(piece) > SECTOR and chance.random() < 0.3:
                piece = piece[: chance.randrange(1, (len(piece) + SECTOR - 1) // SECTOR) * SECTOR]
            patch(content, (at, piece))
        return Content(content)

    def hollow(self):
        """The size has come to the disk, the bytes have not."""
        content = bytearray(self.durable.bytes)
        for at, piece in self.pending:
            patch(content, (at, bytes(len(piece)) if piece is not None else None))
        return Content(content)


def patch(content, op):
    at, piece = op
    if piece is None:
        del content[at:]
        content.extend(bytes(at - len(content)))
        return
    content.extend(bytes(max(0, at - len(content))))
    content[at : at + len(piece)] = piece


class NameOp:
    """C a name for a node, R the name moves, U it goes; `dirs` are those whose sync makes it durable. A name that moves to another directory is all or
    nothing, and in the strict model only the directory that it comes to counts."""

    def __init__(self, kind, node, path, path2=None, strict=False):
        self.kind, self.node, self.path, self.path2 = kind, node, path, path2
        self.dirs = {os.path.dirname(p) or "." for p in ((path2,) if path2 and strict else (path, path2)) if p}

    def apply(self, names):
        if self.kind == "C":
            names[self.path] = self.node
            return
        if names.get(self.path) is self.node:
            del names[self.path]
        if self.kind == "R":
            names[self.path2] = self.node


class State:
    """{path: (node, content, mode)} of one possible disk, without what no name leads to."""

    def __init__(self, names, content_of, mode_of):
        self.entries = {}
        for path in sorted(names, key=lambda p: p.count("/")):
            parent, node = os.path.dirname(path), names[path]
            if (parent and parent not in self.entries) or path.endswith(LEFT_OUT):
                continue
            self.entries[path] = (node, EMPTY if node.is_dir else content_of(node), mode_of(node))

    def key(self):
        lines = (f"{path}\0{node.inode}\0{mode}\0{'' if node.is_dir else content.digest}" for path, (node, content, mode) in sorted(self.entries.items()))
        return hashlib.sha256("\n".join(lines).encode()).digest()

    def content(self, path):
        entry = self.entries.get(path)
        return entry[1] if entry and not entry[0].is_dir else None

    def by_inode(self, inode):
        return next((content for node, content, _ in self.entries.values() if node.inode == inode and not node.is_dir), None)


class Disk:
    def __init__(self, strict):
        self.strict = strict
        self.nodes = {}       # inode -> node that has it now
        self.live, self.durable = {}, {}
        self.pending = []     # names, in order

    # ---- one record ----

    def take(self, record):
        op, inode, path = record["op"], record["inode"], record["path"]
        if op == "X":
            raise ValueError(f"the recorder does not understand {record['path2']} of {path}")
        if op == "P":
            return
        if op == "A":
            self.settle()
            return
        node = self.node_of(record)
        if op in "CD":
            node = self.create(record)
        elif op == "R":
            self.rename(node, path, record["path2"])
        elif op == "U":
            self.name_op(NameOp("U", node, path))
        elif op == "W":
            node.apply((record["offset"], record["bytes"]))
        elif op == "Z":
            node.apply((record["offset"], None))
        elif op == "S":
            self.sync(node, path)
        if op in "CDWZM":
            node.mode = record["mode"]
        if op != "U" and node:
            node.times = (record["mtime"], record["ctime"])

    def node_of(self, record):
        node = self.nodes.get(record["inode"])
        if record["op"] not in "CD" and not node and record["path"] != ".":
            raise ValueError(f"{record['op']} of {record['path']}, which nobody made")
        return node

    def create(self, record):
        """An inode that is used again belongs to another file."""
        path, node = record["path"], self.nodes.get(record["inode"])
        if node and self.live.get(path) is node:
            return node
        node = self.nodes[record["inode"]] = Node(record["inode"], record["op"] == "D", record["mode"])
        self.name_op(NameOp("C", node, path))
        return node

    def rename(self, node, path, path2):
        if node.is_dir:
            raise ValueError(f"a directory is renamed: {path}")
        self.name_op(NameOp("R", node, path, path2, self.strict))

    def name_op(self, op):
        op.apply(self.live)
        self.pending.append(op)

    # ---- what becomes durable ----

    def sync(self, node, path):
        is_dir = path == "." or node.is_dir
        if node:
            node.sync()
        if not self.strict and path not in (".", "-"):
            self.sync_way(path)
        if is_dir:
            self.keep(lambda op: path in op.dirs)

    def sync_way(self, path):
        way = {path}
        while os.path.dirname(path):
            path = os.path.dirname(path)
            way.add(path)
        nodes = {id(self.live[p]) for p in way if p in self.live}
        self.keep(lambda op: op.kind == "C" and id(op.node) in nodes)

    def keep(self, wanted):
        rest = []
        for op in self.pending:
            if wanted(op):
                op.apply(self.durable)
            else:
                rest.append(op)
        self.pending = rest

    def settle(self):
        """All of it, as after a sync of the whole system."""
        self.keep(lambda op: True)
        for node in self.nodes.values():
            node.sync()

    # ---- states ----

    def names(self, chosen):
        names = dict(self.durable)
        for op in chosen:
            op.apply(names)
        return names

    def some_names(self, chance):
        """A prefix of the names; in the strict model one of each directory."""
        if not self.strict:
            return self.pending[: chance.randint(0, len(self.pending))]
        dirs = sorted({d for op in self.pending for d in op.dirs})
        left = {d: chance.randint(0, sum(d in op.dirs for op in self.pending)) for d in dirs}
        chosen = []
        for op in self.pending:
            if any(left[d] > 0 for d in op.dirs):
                chosen.append(op)
            for d in op.dirs:
                left[d] -= 1
        return chosen

    def states(self, chance, count):
        durable, whole, hollow = (lambda n: n.durable), Node.whole, Node.hollow
        old_mode, new_mode = (lambda n: n.durable_mode), (lambda n: n.mode)
        yield State(self.durable, durable, old_mode)
        yield State(self.names(self.pending), durable, old_mode)
        yield State(self.durable, whole, new_mode)
        yield State(self.live, whole, new_mode)
        yield State(self.live, hollow, new_mode)
        for _ in range(count):
            yield State(self.names(self.some_names(chance)), lambda n: n.some(chance) if n.pending else n.durable,
                        lambda n: chance.choice((n.mode, n.durable_mode)))


def read_log(path):
    """Records of the log, as dictionaries."""
    with open(path, "rb") as log:
        while line := log.readline():
            op, inode, path, path2, offset, size, mode, mtime, ctime = line.decode().split()
            yield {"op": op, "inode": int(inode), "path": path, "path2": path2, "offset": int(offset), "mode": int(mode, 8),
                   "mtime": int(mtime), "ctime": int(ctime), "bytes": log.read(int(size))}


def walk(records, strict, seed, count):
    """(number of the record, disk, states that are new) after each record."""
    disk, seen, chance = Disk(strict), set(), random.Random(seed)
    for number, record in enumerate(records):
        disk.take(record)
        new = []
        for state in disk.states(chance, count):
            key = state.key()
            if key not in seen:
                seen.add(key)
                new.append(state)
        yield number, disk, new


def difference(records, root):
    """Where the model and the directory disagree once all is written: a call that the recorder missed. None if nowhere."""
    disk, found = Disk(strict=False), {}
    for record in records:
        disk.take(record)
    for directory, dirs, files in os.walk(root):
        for name in dirs + files:
            path = os.path.relpath(os.path.join(directory, name), root)
            if not path.endswith(LEFT_OUT):
                found[path] = os.lstat(os.path.join(directory, name))
    model = State(disk.live, Node.whole, lambda n: n.mode)
    if found.keys() != model.entries.keys():
        return f"names: {sorted(found.keys() ^ model.entries.keys())}"
    for path, (node, content, mode) in model.entries.items():
        if mode != found[path].st_mode & 0o7777:
            return f"{path}: mode {found[path].st_mode & 0o7777:o}, in the model {mode:o}"
        if not node.is_dir:
            with open(os.path.join(root, path), "rb") as file:
                if file.read() != content.bytes:
                    return f"{path}: content"
    return None
