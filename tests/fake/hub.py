#!/usr/bin/env python3
"""A model hub for tests: Hugging Face, ModelScope and plain HTTP over one directory, with faults on demand.

    hub.py ROOT [--port N] [--cdn-port N] [--cdn-url URL] [--ready FILE] [--page-size N] [--lfs-from BYTES] [--token TOKEN | --token-env NAME]

ROOT/ORG/NAME/... is the repository ORG/NAME as it is now; ROOT/ORG/NAME@REV/... is its branch or tag REV. The commit is computed from the
content, so changing a file moves `main`; commits seen before stay available while the server lives. Listens on 127.0.0.1 alone; ports are
ephemeral unless given. It ends when the process that started it does. Once it listens, one line of JSON {"hub": URL, "cdn": URL, "pid": N} goes to FILE (renamed into place) or to stdout.

Hugging Face  HUB/api/models/ORG/NAME[/revision/REV], .../tree/REV (paged), HUB/ORG/NAME/resolve/REV/PATH. Small files come from the hub with a
              git blob id as ETag, LFS files (weights, or from --lfs-from bytes on) by a 302 to the CDN, which answers 400 and keeps a note of it
              when it sees Authorization or Cookie.
ModelScope    HUB/api/v1/models/ORG/NAME[/revisions|/commits|/repo/files|/repo]; a range is answered with 200 and Content-Range.
Plain         HUB/plain/ORG/NAME/PATH, with SHA256SUMS.

With a token (--token-env: out of the environment) everything but /plain wants `Authorization: Bearer TOKEN` (401 GatedRepo otherwise).

Control
  GET  /__stats   {"requests": {PATH: N}, "bytes": {PATH: N}, "total": BYTES, "leaks": [...], "authorized": N}; PATH is the file's path in its repository,
                  or the request's path for everything else. "total" counts bytes of files alone.
  POST /__reset   forget counts and faults
  POST /__fault   {"path": GLOB, "behaviour": WORD, "times": N, "where": "hub"|"cdn", "arg": X}
                  GLOB matches the file's path in its repository, ORG/NAME for listings, or the request's path when it begins with `/`. The fault
                  strikes N times (1; -1: always). A fault without `where` strikes where the file's bytes are sent.

  any request   401 403 404 408 410 416 429 500 502 503 504 (arg: {"code", "message"} or, for 429 and 503, seconds to wait), stall, close
  files         truncate (arg: bytes sent), wrong_byte (arg: offset), gzip, no_range, wrong_start, wrong_total, no_content_range, long (a tail of
                extra bytes), no_length, html, pointer, empty, trickle, slow (arg: bytes a second), redirect_loop, redirect_file, redirect_http, bad_commit
  listings      hostile (arg: names), paging_loop, foreign_link, public_link, wrong_pointer, no_sha256, wrong_sha256, envelope (arg: code),
                files_null, symlink, html, no_commit_revision (ModelScope: a commit is no revision)
"""

import argparse
import fnmatch
import gzip
import hashlib
import http.server
import json
import os
import pathlib
import re
import sys
import threading
import time
import urllib.parse

WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth", ".onnx", ".h5", ".msgpack")
STATUSES = {"401", "403", "404", "408", "410", "416", "429", "500", "502", "503", "504"}
CHUNK = 1 << 20
SLOW_STEP = 16 << 10


def git_blob(size, chunks):
    sha = hashlib.sha1(b"blob %d\0" % size)
    for chunk in chunks:
        sha.update(chunk)
    return sha.hexdigest()


def pointer_text(sha256, size):
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


class File:
    """One file of one commit. Small ones are kept, so that an old commit can still be served."""

    def __init__(self, name, path, lfs_from):
        self.name, self.path = name, path
        self.size = path.stat().st_size
        self.kept = path.read_bytes() if self.size <= 64 << 20 else None
        sha256, sha1 = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % self.size)
        for chunk in self.read(0, self.size):
            sha256.update(chunk)
            sha1.update(chunk)
        self.sha256 = sha256.hexdigest()
        self.lfs = name.endswith(WEIGHTS) or self.size >= lfs_from
        pointer = pointer_text(self.sha256, self.size)
        self.pointer_size = len(pointer)
        self.oid = git_blob(len(pointer), [pointer]) if self.lfs else sha1.hexdigest()

    def read(self, start, end):
        if self.kept is not None:
            yield self.kept[start:end]
            return
        with open(self.path, "rb") as stream:
            stream.seek(start)
            while start < end:
                chunk = stream.read(min(CHUNK, end - start))
                if not chunk:
                    return
                start += len(chunk)
                yield chunk


class Repositories:
    def __init__(self, root, lfs_from):
        self.root, self.lfs_from = root, lfs_from
        self.lock = threading.Lock()
        self.known = {}    # path, stat -> File
        self.commits = {}  # (repo, commit) -> {name: File}

    def snapshot(self, directory):
        files = {}
        for path in sorted(directory.rglob("*")):
            if not path.is_file():
                continue
            name, stat = str(path.relative_to(directory)), path.stat()
            key = (str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino)
            if key not in self.known:
                self.known[key] = File(name, path, self.lfs_from)
            files[name] = self.known[key]
        return files

    def directory(self, repo, revision):
        branch = self.root / f"{repo}@{revision}"
        if branch.is_dir():
            return branch
        return self.root / repo if revision in ("main", "master") else None

    def remember(self, repo, directory):
        files = self.snapshot(directory)
        commit = self.commit_of(files)
        self.commits[repo, commit] = files
        return commit, files

    def find(self, repo, revision):
        """(commit, files), or None: no such revision. KeyError: no such repository."""
        with self.lock:
            if ".." in repo or not (self.root / repo).is_dir():
                raise KeyError(repo)
            if (repo, revision) in self.commits:
                return revision, self.commits[repo, revision]
            directory = self.directory(repo, revision)
            if directory:
                return self.remember(repo, directory)
            commit, files = self.remember(repo, self.root / repo)
            return (commit, files) if commit == revision else None

    @staticmethod
    def commit_of(files):
        return hashlib.sha1("".join(f"{f.name}\0{f.oid}\n" for f in files.values()).encode()).hexdigest()

    def by_digest(self, sha256):
        with self.lock:
            for files in self.commits.values():
                for file in files.values():
                    if file.sha256 == sha256:
                        return file
        return None


class State:
    def __init__(self):
        self.lock = threading.Lock()
        self.reset()

    def reset(self):
        self.requests, self.bytes, self.leaks, self.faults, self.total, self.authorized = {}, {}, [], [], 0, 0

    def count(self, path):
        with self.lock:
            self.requests[path] = self.requests.get(path, 0) + 1

    def sent(self, path, size):
        with self.lock:
            self.bytes[path] = self.bytes.get(path, 0) + size
            self.total += size

    def strike(self, where, sends, *names):
        """The fault that strikes now, if any; its count goes down."""
        with self.lock:
            for fault in self.faults:
                wanted = fault.get("where")
                if (wanted != where if wanted else not sends) or fault["times"] == 0:
                    continue
                if any(fnmatch.fnmatchcase(name, fault["path"]) for name in names):
                    fault["times"] -= 1
                    return fault
        return None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    where = "hub"

    def log_message(self, *args):
        pass

    # ---- answers ----

    def answer(self, status, body=b"", headers=(), kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer_json(self, value, status=200, headers=()):
        self.answer(status, json.dumps(value).encode(), headers)

    def error(self, status, code="", message=""):
        self.answer_json({"error": message}, status, [("X-Error-Code", code), ("X-Error-Message", message), ("X-Request-Id", "Root=1-test")])

    def strike_any(self, fault):
        """Faults that any request may have. True: answered."""
        word, arg = fault["behaviour"], fault.get("arg")
        if word in STATUSES:
            arg = {} if arg is None else {"wait": arg} if isinstance(arg, (int, str)) else arg
            headers = [("X-Error-Code", arg.get("code", "")), ("X-Error-Message", arg.get("message", ""))]
            if word in ("429", "503") and "wait" in arg:
                headers.append(("Retry-After", str(arg["wait"])))
            if word == "429":
                headers.append(("RateLimit", f'"api";r=0;t={arg.get("wait", 0)}'))
            if word == "416":
                headers.append(("Content-Range", "bytes */0"))
            self.answer_json({"error": arg.get("message", f"status {word}")}, int(word), headers)
        elif word == "close":
            self.close_connection = True
        elif word == "stall":
            self.wait_until_gone(60)
        elif word == "html":
            self.answer(200, b"<!DOCTYPE html><title>Sign in</title>", kind="text/html; charset=utf-8")
        else:
            return False
        return True

    def wait_until_gone(self, seconds):
        self.connection.settimeout(seconds)
        try:
            self.connection.recv(1)
        except OSError:
            pass
        self.close_connection = True

    # ---- bytes of files ----

    def range_of(self, size):
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not match:
            return None
        start, end = int(match[1]), int(match[2]) + 1 if match[2] else size
        return start, min(end, size)

    def send_file(self, file, headers=(), range_status=206, etag=None):
        fault = self.server.state.strike(self.where, True, file.name, urllib.parse.urlsplit(self.path).path)
        if fault and (self.strike_any(fault) or self.send_instead(fault, file)):
            return
        word = fault["behaviour"] if fault else ""
        wanted = None if word == "no_range" else self.range_of(file.size)
        if wanted and wanted[0] >= file.size and file.size:
            self.answer(416, headers=[("Content-Range", f"bytes */{file.size}")])
            return
        start, end = wanted or (0, file.size)
        length = end - start
        self.send_response(range_status if wanted else 200)
        self.send_header("Content-Type", "application/octet-stream")
        if word != "no_length":
            self.send_header("Content-Length", str(length + (10 if word == "long" else 0)))
        self.send_header("Accept-Ranges", "bytes")
        if etag:
            self.send_header("ETag", f'"{etag}"')
        for name, value in headers:
            self.send_header(name, "0" * 40 if word == "bad_commit" and name == "X-Repo-Commit" else value)
        if wanted and word != "no_content_range":
            shift, more = (1 if word == "wrong_start" else 0), (1 if word == "wrong_total" else 0)
            self.send_header("Content-Range", f"bytes {start + shift}-{end - 1 + shift}/{file.size + more}")
        if word == "no_length":
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            self.send_bytes(file, start, end, fault)

    def send_instead(self, fault, file):
        word = fault["behaviour"]
        port = self.server.server_address[1]
        targets = {"redirect_loop": self.path, "redirect_file": "file:///etc/passwd", "redirect_http": f"http://example.invalid:{port}/x"}
        if word in targets:
            self.answer(302, headers=[("Location", targets[word])])
        elif word == "pointer":
            self.answer(200, pointer_text(file.sha256, file.size), kind="text/plain")
        elif word == "empty":
            self.answer(200, b"", kind="application/octet-stream")
        elif word == "gzip":
            body = gzip.compress(b"".join(file.read(0, file.size)))
            self.answer(200, body, [("Content-Encoding", "gzip"), ("ETag", f'W/"{file.oid}"')], "application/octet-stream")
        else:
            return False
        return True

    def send_bytes(self, file, start, end, fault):
        word, arg = (fault["behaviour"], fault.get("arg")) if fault else ("", None)
        at = start
        for chunk in file.read(start, end):
            if word == "wrong_byte" and at <= (arg or 0) < at + len(chunk):
                chunk = bytearray(chunk)
                chunk[(arg or 0) - at] ^= 0x40
            if word == "truncate" and at + len(chunk) - start > (arg or 0):
                self.write(file, chunk[: max(0, (arg or 0) - (at - start))])
                self.close_connection = True
                return
            if word == "trickle":
                for i in range(len(chunk)):
                    self.write(file, chunk[i : i + 1])
                    time.sleep(0.1)
                continue
            if word == "slow":
                for i in range(0, len(chunk), SLOW_STEP):
                    self.write(file, chunk[i : i + SLOW_STEP])
                    time.sleep(SLOW_STEP / arg)
                continue
            self.write(file, chunk)
            at += len(chunk)
        if word == "long":
            self.write(file, b"0123456789")

    def write(self, file, chunk):
        try:
            self.wfile.write(chunk)
            self.wfile.flush()
            self.server.state.sent(file.name, len(chunk))
        except OSError:
            self.close_connection = True

    # ---- requests ----

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path)
        query = {key: values[0] for key, values in urllib.parse.parse_qs(path.query, keep_blank_values=True).items()}
        if path.path == "/__stats":
            state = self.server.state
            self.answer_json({"requests": state.requests, "bytes": state.bytes, "total": state.total, "leaks": state.leaks,
                              "authorized": state.authorized})
            return
        self.route(path.path, query)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        state = self.server.state
        if self.path == "/__reset":
            with state.lock:
                state.reset()
            self.answer_json({})
        elif self.path == "/__fault":
            fault = {"times": 1} | json.loads(body)
            with state.lock:
                state.faults.append(fault)
            self.answer_json({})
        else:
            self.post(urllib.parse.urlsplit(self.path).path, body)

    def post(self, path, body):
        self.answer(404)


class Cdn(Handler):
    where = "cdn"

    def route(self, path, query):
        leaked = [name for name in ("Authorization", "Cookie") if self.headers.get(name)]
        if leaked:
            with self.server.state.lock:
                self.server.state.leaks.append(f"{', '.join(leaked)} at {path}")
            self.answer(400, b"<Error>Only one auth mechanism allowed</Error>", kind="application/xml")
            return
        match = re.fullmatch(r"/object/([0-9a-f]{64})", path)
        file = self.server.repositories.by_digest(match[1]) if match else None
        if not file or query.get("signature") != "secret":
            self.answer(403)
            return
        self.server.state.count(file.name)
        self.send_file(file, etag="not-a-digest")


class Hub(Handler):
    def allowed(self):
        token = self.server.token
        given = self.headers.get("Authorization", "")
        if given:
            with self.server.state.lock:
                self.server.state.authorized += 1
        if token and given != f"Bearer {token}":
            invalid = "Invalid credentials in Authorization header" if given else "Access to this model is restricted"
            self.error(401, "" if given else "GatedRepo", invalid)
            return False
        return True

    def route(self, path, query):
        routes = (
            (r"/api/models/([^/]+/[^/]+)/revision/([^/]+)", self.hf_info),
            (r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", self.hf_tree),
            (r"/api/models/([^/]+/[^/]+)", self.hf_info),
            (r"/api/v1/models/([^/]+/[^/]+)/(revisions|commits|repo/files|repo/tree|repo)", self.ms_route),
            (r"/api/v1/models/([^/]+/[^/]+)", self.ms_info),
            (r"/(?:models/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.resolve),
        )
        if path.startswith("/plain/"):
            self.plain(path)
            return
        self.query = query
        for pattern, handler in routes:
            match = re.fullmatch(pattern, path)
            if match:
                if self.allowed():
                    handler(*(urllib.parse.unquote(part) for part in match.groups()))
                return
        self.server.state.count(path)
        self.answer_json({"error": "no such path"}, 404)

    def listing_fault(self, repo):
        path = urllib.parse.urlsplit(self.path).path
        self.server.state.count(path)
        fault = self.server.state.strike("hub", True, repo, path)
        if fault and self.strike_any(fault):
            return None
        return fault or {"behaviour": ""}

    # ---- Hugging Face ----

    def hf_find(self, repo, revision):
        try:
            found = self.server.repositories.find(repo, revision)
        except KeyError:
            self.error(404, "RepoNotFound", "Repository not found")
            return None
        if not found:
            self.error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found

    def hf_info(self, repo, revision="main"):
        fault = self.listing_fault(repo)
        found = self.hf_find(repo, revision) if fault else None
        if found:
            commit, files = found
            self.answer_json({"id": repo, "modelId": repo, "sha": commit, "private": False, "gated": False, "disabled": False,
                              "siblings": [{"rfilename": name} for name in files], "tags": [], "downloads": 0, "likes": 0})

    def hf_entries(self, files, fault):
        entries, seen = [], set()
        word, arg = fault["behaviour"], fault.get("arg")
        for file in files.values():
            for parent in pathlib.PurePosixPath(file.name).parents:
                if str(parent) != "." and str(parent) not in seen:
                    seen.add(str(parent))
                    entries.append({"type": "directory", "oid": "0" * 40, "size": 0, "path": str(parent)})
            entry = {"type": "file", "oid": file.oid, "size": file.size, "path": file.name}
            if file.lfs:
                entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
                if word == "wrong_pointer":
                    entry["oid"] = "1" * 40
            entries.append(entry)
        if word == "hostile":
            entries += [{"type": "file", "oid": git_blob(0, []), "size": 0, "path": name} for name in arg]
        if word == "symlink":
            entries.append({"type": "unknown", "oid": git_blob(0, []), "size": 0, "path": "link.json"})
        return entries

    def hf_tree(self, repo, revision):
        fault = self.listing_fault(repo)
        found = self.hf_find(repo, revision) if fault else None
        if not found:
            return
        entries, page = self.hf_entries(found[1], fault), self.server.page_size
        start = int(self.query.get("cursor", 0))
        headers, word = [], fault["behaviour"]
        origin = {"foreign_link": "http://127.0.0.1:9", "public_link": "https://huggingface.co"}.get(word, self.server.url)
        if word == "paging_loop":
            start, page = 0, 1
        if start + page < len(entries) or word in ("paging_loop", "foreign_link"):
            following = 1 if word == "paging_loop" else start + page
            link = f"{origin}/api/models/{repo}/tree/{revision}?recursive=True&cursor={following}"
            headers.append(("Link", f'<{self.server.url}/x,y>; rel="xet-auth", <{link}>; rel="next"'))
        self.answer_json(entries[start : start + page], headers=headers)

    def post(self, path, body):
        match = re.fullmatch(r"/api/models/([^/]+/[^/]+)/paths-info/([^/]+)", path)
        if not match or not self.allowed():
            self.answer(404)
            return
        found = self.hf_find(urllib.parse.unquote(match[1]), urllib.parse.unquote(match[2]))
        if found:
            asked = json.loads(body).get("paths", []) if body.startswith(b"{") else urllib.parse.parse_qs(body.decode()).get("paths", [])
            entries = [e for e in self.hf_entries(found[1], {"behaviour": ""}) if e["path"] in asked]
            self.answer_json(entries)

    def resolve(self, repo, revision, name):
        found = self.hf_find(repo, revision)
        if not found:
            return
        commit, files = found
        self.server.state.count(name)
        file = files.get(name)
        if not file:
            self.error(404, "EntryNotFound", "Entry not found")
            return
        headers = [("X-Repo-Commit", commit)]
        if not file.lfs:
            self.send_file(file, headers, etag=file.oid)
            return
        fault = self.server.state.strike("hub", False, name, urllib.parse.urlsplit(self.path).path)
        if fault and (self.strike_any(fault) or self.send_instead(fault, file)):
            return
        headers += [("X-Linked-Size", str(file.size)), ("X-Linked-ETag", f'"{file.sha256}"'), ("Accept-Ranges", "bytes"),
                    ("Location", f"{self.server.cdn_url}/object/{file.sha256}?signature=secret&Expires=4102444800")]
        self.answer(302, headers=headers)

    # ---- ModelScope ----

    def ms_answer(self, data, code=200, message="success", status=200):
        self.answer_json({"Code": code, "Success": code == 200, "Message": message, "RequestId": "8c2a8249", "Data": data}, status)

    def ms_find(self, repo, revision):
        try:
            found = self.server.repositories.find(repo, revision)
        except KeyError:
            found = None
        if not found:
            self.ms_answer(None, 10010205001, "namespace or model or revision not exist", 404)
        return found

    def ms_info(self, repo):
        fault = self.listing_fault(repo)
        found = self.ms_find(repo, "master") if fault else None
        if found:
            owner, name = repo.split("/")
            self.ms_answer({"Path": owner, "Name": name, "Id": 1, "Revision": "master", "Visibility": 5, "Private": False})

    def ms_route(self, repo, what):
        if what == "repo":
            self.ms_file(repo)
            return
        fault = self.listing_fault(repo)
        if not fault:
            return
        if fault["behaviour"] == "envelope":
            self.ms_answer(None, fault.get("arg", 500), "\u670d\u52a1\u5668\u9519\u8bef")
            return
        revision = self.query.get("Revision") or self.query.get("Ref") or "master"
        if fault["behaviour"] == "no_commit_revision" and re.fullmatch("[0-9a-f]{40}", revision):
            self.ms_answer(None, 10010205001, "revision not exist", 404)
            return
        found = self.ms_find(repo, revision)
        if not found:
            return
        commit, files = found
        if what == "revisions":
            self.ms_answer({"RevisionMap": {"Branches": [{"Revision": "master", "CreatedAt": 1700000000}], "Tags": []}})
        elif what == "commits":
            self.ms_answer({"Commit": [{"Id": commit, "Message": "update", "CommittedDate": 1700000000}], "TotalCount": 1})
        else:
            self.ms_answer({"Files": None if fault["behaviour"] == "files_null" else self.ms_entries(files, commit, fault)})

    def ms_entries(self, files, commit, fault):
        word, arg = fault["behaviour"], fault.get("arg")
        entries = []
        for file in files.values():
            sha256 = {"no_sha256": "", "wrong_sha256": "ab" * 32}.get(word, file.sha256)
            entries.append({"Name": pathlib.PurePosixPath(file.name).name, "Path": file.name, "Type": "blob", "Mode": "33188", "Size": file.size,
                            "Sha256": sha256, "IsLFS": file.lfs, "InCheck": False, "Revision": commit, "CommittedDate": 1700000000})
        for directory in sorted({str(p) for f in files for p in pathlib.PurePosixPath(f).parents if str(p) != "."}):
            entries.append({"Name": pathlib.PurePosixPath(directory).name, "Path": directory, "Type": "tree", "Mode": "16384", "Size": 0,
                            "Sha256": "", "IsLFS": False, "Revision": commit, "CommittedDate": 1700000000})
        if word == "hostile":
            entries += [{"Name": n, "Path": n, "Type": "blob", "Mode": "33188", "Size": 0, "Sha256": hashlib.sha256().hexdigest()} for n in arg]
        if word == "symlink":
            entries.append({"Name": "link.json", "Path": "link.json", "Type": "blob", "Mode": "40960", "Size": 4, "Sha256": "ab" * 32})
        return entries

    def ms_file(self, repo):
        found = self.ms_find(repo, self.query.get("Revision", "master"))
        if not found:
            return
        file = found[1].get(self.query.get("FilePath", ""))
        self.server.state.count(self.query.get("FilePath", ""))
        if file:
            self.send_file(file, [("X-Linked-ETag", file.sha256)], range_status=200, etag=file.sha256)
        else:
            self.ms_answer(None, 10010205001, "file not exist", 404)

    # ---- a directory ----

    def plain(self, path):
        match = re.fullmatch(r"/plain/([^/]+/[^/]+)/(.+)", urllib.parse.unquote(path))
        try:
            found = self.server.repositories.find(match[1], "main") if match else None
        except KeyError:
            found = None
        name = match[2] if match else path
        self.server.state.count(name)
        if not found:
            self.answer(404, b"not found", kind="text/plain")
        elif name == "SHA256SUMS":
            fault = self.server.state.strike("hub", True, name, path)
            if not (fault and self.strike_any(fault)):
                body = "".join(f"{file.sha256}  {file.name}\n" for file in found[1].values())
                self.answer(200, body.encode(), kind="text/plain")
        elif name in found[1]:
            self.send_file(found[1][name], etag=found[1][name].sha256)
        else:
            self.answer(404, b"not found", kind="text/plain")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port, handler, **shared):
        super().__init__(("127.0.0.1", port), handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.__dict__.update(shared)


def end_with(parent):
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(0)


def main():
    parser = argparse.ArgumentParser(description="a model hub for tests")
    parser.add_argument("root", type=pathlib.Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--cdn-port", type=int, default=0)
    parser.add_argument("--cdn-url", help="another server that has the bytes, as /object/SHA256")
    parser.add_argument("--ready", type=pathlib.Path)
    parser.add_argument("--page-size", type=int, default=1000)
    parser.add_argument("--lfs-from", type=int, default=10 << 20)
    parser.add_argument("--token")
    parser.add_argument("--token-env")
    options = parser.parse_args()
    shared = {"state": State(), "repositories": Repositories(options.root, options.lfs_from)}
    cdn = Server(options.cdn_port, Cdn, **shared)
    hub = Server(options.port, Hub, cdn_url=options.cdn_url or cdn.url, page_size=options.page_size, token=os.environ[options.token_env] if options.token_env else options.token, **shared)
    line = json.dumps({"hub": hub.url, "cdn": cdn.url, "pid": os.getpid()}) + "\n"
    if options.ready:
        beside = options.ready.with_name(options.ready.name + ".new")
        beside.write_text(line)
        beside.rename(options.ready)
    else:
        sys.stdout.write(line)
        sys.stdout.flush()
    threading.Thread(target=cdn.serve_forever, daemon=True).start()
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    hub.serve_forever()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
