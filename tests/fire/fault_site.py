"""The servers of one row: hub, CDN, a host that nobody named, an engine on a unix socket; certificates right and wrong; and what all of them have seen."""

import fnmatch
import http.server
import io
import json
import re
import socket
import ssl
import subprocess
import threading
import urllib.parse
import warnings

from fault_engine import Engine
from fault_listen import Listener, UnixListener
from fault_wire import REPO, SHARD, Reply, Wire, fake

# ------------------------------------------------------------------ certificates


class Authority:
    """An authority of our own and what it signed, right and wrong, made by the openssl command."""

    NOW, CONFIG = ("20200101000000Z", "20450101000000Z"), """\
[ca]
default_ca = own
[own]
dir = {0}
database = {0}/index
new_certs_dir = {0}
serial = {0}/serial
certificate = {0}/ca.pem
private_key = {0}/ca.key
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
"""
    KINDS = {"good": ("IP:127.0.0.1,DNS:localhost", *NOW), "wrong_name": ("DNS:other.invalid", *NOW), "expired": ("IP:127.0.0.1", "20200101000000Z", "20210101000000Z"),
             "not_yet_valid": ("IP:127.0.0.1", "20440101000000Z", "20450101000000Z")}

    def __init__(self, directory):
        self.directory = directory
        directory.mkdir()
        (directory / "index").touch()
        (directory / "serial").write_text("01\n")
        (directory / "ca.cnf").write_text(self.CONFIG.format(directory))
        for name in ("ca", "self_signed"):
            self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "7300", "-subj", f"/CN=faults-{name}",
                         "-addext", "subjectAltName=IP:127.0.0.1")
        for name, (names, begin, end) in self.KINDS.items():
            (directory / f"{name}.ext").write_text(f"subjectAltName={names}\n")
            self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
            self.openssl("ca", "-batch", "-notext", "-config", "ca.cnf", "-in", f"{name}.csr", "-out", f"{name}.pem", "-extfile", f"{name}.ext", "-startdate", begin,
                         "-enddate", end)

    def openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.directory, check=True, capture_output=True)

    def server(self, kind):
        """What makes a TLS connection of a plain one; None where the handshake fails, as it should."""
        if kind == "none":
            return lambda connection: connection
        if kind == "stalls":
            return lambda connection: Wire(connection).stall()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        name = kind if kind in self.KINDS or kind == "self_signed" else "good"
        context.load_cert_chain(self.directory / f"{name}.pem", self.directory / f"{name}.key")
        if kind == "tls_1_0":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
            context.set_ciphers("ALL:@SECLEVEL=0")

        def wrap(connection):
            try:
                return context.wrap_socket(connection, server_side=True)
            except OSError:
                connection.close()
                return None
        return wrap


# ------------------------------------------------------------------ serving


class Misbehaving:
    """A handler whose answers go through the site's row."""

    def misbehave(self, answer, *arguments):
        """Whether the row struck; else the right answer was sent."""
        site, key = self.server.site, self.key()
        site.note(self.key_of_server, key, self.command, self.path, self.headers)
        fault = site.strike(key)
        if not fault:
            answer(*arguments)
            return
        kept, self.wfile = self.wfile, io.BytesIO()
        try:
            answer(*arguments)
        finally:
            raw, self.wfile = self.wfile.getvalue(), kept
        self.close_connection = True
        wire = Wire(self.connection)
        fault(wire, Reply(raw, site, self.path, self.headers, getattr(self, "sent", b"")))
        site.finished(wire)


class Hub(Misbehaving, fake.Hub):
    key_of_server = "hub"

    def key(self):
        path = urllib.parse.urlsplit(self.path)
        name = urllib.parse.unquote(path.path.rsplit("/", 1)[-1])
        word = "head:" if self.command == "HEAD" else ""
        if path.path.endswith("/repo"):
            return f"{word}file:{dict(urllib.parse.parse_qsl(path.query)).get('FilePath')}"
        for pattern, key in (("/api/models/*/tree/*", "tree"), ("/api/models/*", "info"), ("*/commits", "commits"), ("*/repo/files", "files"), ("*/SHA256SUMS", "sums"),
                             ("/plain/*", f"plain:{name}"), ("*/resolve/*", f"resolve:{name}")):
            if fnmatch.fnmatchcase(path.path, pattern):
                return word + key
        return word + path.path

    def route(self, path, query):
        self.misbehave(super().route, path, query)


class Cdn(Misbehaving, fake.Cdn):
    key_of_server = "cdn"

    def key(self):
        return "cdn"

    def route(self, path, query):
        self.misbehave(super().route, path, query)


class Elsewhere(Hub):
    """A host that was never asked for by name; it has the bytes all the same."""
    key_of_server = "elsewhere"

    def route(self, path, query):
        self.server.site.note("elsewhere", self.key(), self.command, self.path, self.headers)
        found = re.fullmatch(r"/object/([0-9a-f]{64})", path)
        if found:
            self.send_file(self.server.repositories.by_digest(found[1]))
        else:
            fake.Hub.route(self, path, query)


class EngineHandler(Misbehaving, http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    key_of_server = "engine"

    def log_message(self, *args):
        pass

    def address_string(self):
        return "client"

    def key(self):
        return f"{self.command} {self.plain}"

    def any(self):
        parts = urllib.parse.urlsplit(self.path)
        self.plain = re.sub(r"^/v1\.\d+", "", parts.path)
        self.query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        self.sent = self.read_chunks() if self.headers.get("Transfer-Encoding") == "chunked" else self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.misbehave(self.good)

    def read_chunks(self):
        body = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def good(self):
        code, value = self.server.site.engine.answer(self.command, self.plain, self.query, self.sent)
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response_only(code)
        self.send_header("Api-Version", "1.44")
        self.send_header("Server", "Docker/28.0.0 (linux)")
        self.send_header("Content-Type", "application/json" if body[:1] in b"{[" else "text/plain")
        if code not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and code not in (204, 304):
            self.wfile.write(body)

    do_GET = do_POST = do_DELETE = do_HEAD = any


class Site:
    """All servers of one row, and what they have seen."""

    def __init__(self, row, root, tls=None, socket_path=None, secrets=()):
        self.row, self.secrets, self.lock = row, secrets, threading.Lock()
        self.left, self.skip, self.counts, self.requests, self.leaks = row.times, row.skip, {}, [], []
        self.content = (root / REPO / SHARD).read_bytes()
        self.size = len(self.content)
        shared = {"state": fake.State(), "repositories": fake.Repositories(root, 10 << 20), "site": self, "token": None, "page_size": 1000}
        self.cdn = Listener(0, Cdn, tls if row.tls == "good" else None, **shared)
        self.elsewhere = Listener(0, Elsewhere, cdn_url=self.cdn.url, **shared)
        self.hub = Listener(0, Hub, tls, row.address, cdn_url=self.cdn.url, **shared)
        self.engine = Engine(self)
        self.engine.add_image("fault/server:1")
        self.unix = UnixListener(socket_path, EngineHandler, site=self) if socket_path else None

    def strike(self, key):
        """The fault that strikes here and now."""
        with self.lock:
            if self.left == 0 or not fnmatch.fnmatchcase(key, self.row.at):
                return None
            if self.skip:
                self.skip -= 1
                return self.row.before
            self.left -= 1
            return self.row.fault

    def note(self, server, key, command, path, headers):
        seen = f"{path}\n{headers}"
        with self.lock:
            self.requests.append((server, key))
            # A hub may see the token as a bearer and in no other way; whoever else sees it has what is not theirs.
            if any(secret in (path if server == "hub" else seen) for secret in self.secrets):
                self.leaks.append(f"{server}: {command} {path.partition('?')[0]}")
            if headers.get("Cookie") and "m_session_id" not in headers.get("Cookie"):
                self.leaks.append(f"{server}: a cookie")

    def count(self, word):
        with self.lock:
            self.counts[word] = self.counts.get(word, -1) + 1
            return self.counts[word]

    def finished(self, wire):
        if isinstance(wire.connection, ssl.SSLSocket):
            return
        try:
            wire.connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def heal(self):
        with self.lock:
            self.left = 0

    def struck(self):
        return self.left != self.row.times

    def end(self):
        self.engine.end()
        for server in (self.cdn, self.elsewhere, self.hub, self.unix):
            if server:
                server.end()
