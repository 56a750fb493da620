"""What faults are made of, and those of any transfer: connections, heads, bodies.

A fault is a function of the connection and of the right reply; whatever it does not send is not sent, and the connection ends after it.
"""

import functools
import gzip
import json
import pathlib
import socket
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fake"))
import hub as fake  # noqa: E402,F401 (for the others)

REPO, CONFIG, INDEX, SHARD = "acme/tiny", "config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors"
PATIENT = 60  # seconds that a stalled connection is held open: longer than any row


class Wire:
    """The connection to the client, which may be gone at any moment."""

    def __init__(self, connection):
        self.connection = connection

    def send(self, *pieces):
        try:
            for piece in pieces:
                self.connection.sendall(piece)
            return True
        except OSError:
            return False

    def drip(self, content, pause=0.1, size=1):
        for at in range(0, len(content), size):
            if not self.send(content[at : at + size]):
                return
            time.sleep(pause)

    def for_ever(self, piece, pause=0.0):
        while self.send(piece):
            time.sleep(pause)

    def stall(self):
        """Nothing, until the client has gone."""
        self.connection.settimeout(PATIENT)
        try:
            while self.connection.recv(65536):
                pass
        except OSError:
            pass

    def reset(self):
        """The next close sends RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Reply:
    """A right answer, taken apart; and the request that it belongs to."""

    def __init__(self, raw, site, path, headers, sent):
        head, _, self.body = raw.partition(b"\r\n\r\n")
        self.line, *fields = head.split(b"\r\n")
        self.headers = [tuple(field.split(b": ", 1)) for field in fields]
        self.site, self.path, self.request, self.sent = site, path, headers, sent

    def head(self, line=None, drop=(), **fields):
        """The head with some fields changed; names with `_` for `-`."""
        changed = {name.replace("_", "-").lower(): str(value).encode() for name, value in fields.items()}
        gone = {name.lower() for name in drop} | changed.keys()
        kept = [(name, value) for name, value in self.headers if name.decode().lower() not in gone]
        kept += [(name.encode(), value) for name, value in changed.items()]
        return b"\r\n".join([line or self.line] + [name + b": " + value for name, value in kept]) + b"\r\n\r\n"

    def with_body(self, body, line=None, drop=(), **fields):
        return self.head(line, drop, content_length=len(body), **fields) + body

    @property
    def json(self):
        return json.loads(self.body)

    def with_json(self, value):
        return self.with_body(value if isinstance(value, bytes) else json.dumps(value).encode())


def status(code, body=b'{"error": "no"}', kind="application/json", **fields):
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {code} Status\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body


def chunked(body, size=1000):
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


# ------------------------------------------------------------------ faults of any transfer


def close_before_head(wire, reply):
    pass


def reset_before_head(wire, reply):
    wire.reset()


def close_in_head(wire, reply):
    head = reply.head()
    wire.send(head[: len(head) // 2])


def stall_before_head(wire, reply):
    wire.stall()


def stall_in_head(wire, reply):
    wire.send(reply.head()[:-10])
    wire.stall()


def drip_head(wire, reply):
    wire.drip(reply.head() * 100)


def ends_without_length(wire, reply):
    """All bytes, and then the connection ends: over TLS without a word, as if it had been cut."""
    wire.send(reply.head(drop=["Content-Length"]), reply.body)


def cut_without_length(wire, reply):
    wire.send(reply.head(drop=["Content-Length"]), reply.body[: len(reply.body) // 2])


def close_in_body(wire, reply):
    wire.send(reply.head(), reply.body[: min(1000, len(reply.body) // 2)])


def reset_in_body(wire, reply):
    wire.send(reply.head(), reply.body[: min(1000, len(reply.body) // 2)])
    time.sleep(0.05)
    wire.reset()


def stall_in_body(wire, reply):
    wire.send(reply.head(), reply.body[: min(1000, len(reply.body) // 2)])
    wire.stall()


def drip_body(wire, reply):
    wire.send(reply.head(content_length=len(reply.body)))
    wire.drip(reply.body, 0.2)


def drip_for_ever(wire, reply):
    """Too fast for a stall, and without end."""
    wire.send(reply.head(drop=["Content-Length"], transfer_encoding="chunked"))
    wire.for_ever(b"400\r\n" + b" " * 1024 + b"\r\n", 0.2)


def length_too_long(wire, reply):
    wire.send(reply.head(content_length=len(reply.body) + 10), reply.body)


def length_too_short(wire, reply):
    # The connection ends with it: what is left over would otherwise pass for the next answer, or not, as it happens.
    wire.send(reply.head(content_length=max(len(reply.body) - 10, 0), connection="close"), reply.body)


def length_of_two_minds(wire, reply):
    wire.send(reply.head(content_length=len(reply.body))[:-2] + b"Content-Length: 7\r\n\r\n", reply.body)


def chunks(wire, reply):
    wire.send(reply.head(drop=["Content-Length"], transfer_encoding="chunked"), chunked(reply.body) + b"0\r\n\r\n")


def chunks_without_end(wire, reply):
    wire.send(reply.head(drop=["Content-Length"], transfer_encoding="chunked"), chunked(reply.body[: len(reply.body) // 2]))


def chunk_of_no_size(wire, reply):
    wire.send(reply.head(drop=["Content-Length"], transfer_encoding="chunked"), b"zz\r\n" + reply.body)


def chunk_too_large(wire, reply):
    wire.send(reply.head(drop=["Content-Length"], transfer_encoding="chunked"), b"fffffffffffffffff\r\n" + reply.body)


def chunk_longer_than_said(wire, reply):
    wire.send(reply.head(drop=["Content-Length"], transfer_encoding="chunked"), b"5\r\n" + reply.body + b"\r\n0\r\n\r\n")


def headers_for_ever(wire, reply):
    wire.send(reply.head()[:-2])
    wire.for_ever((b"X-More: " + b"x" * 1000 + b"\r\n") * 64)


def header_of_a_megabyte(wire, reply):
    wire.send(reply.head()[:-2] + b"X-Long: " + b"x" * 1_200_000 + b"\r\n\r\n", reply.body)


def continue_for_ever(wire, reply):
    wire.for_ever(b"HTTP/1.1 100 Continue\r\nX-Wait: more\r\n\r\n")


def nul_in_head(wire, reply):
    wire.send(reply.head()[:-2] + b"X-Nul: a\0b\r\n\r\n", reply.body)


def another_protocol(wire, reply):
    wire.send(b"SSH-2.0-OpenSSH_9.6\r\n")


def no_head_at_all(wire, reply):
    wire.send(reply.body)


def gzipped(wire, reply):
    wire.send(reply.with_body(gzip.compress(reply.body), content_encoding="gzip"))


@functools.cache
def bomb():
    return gzip.compress(bytes(50 << 20))


def gzip_bomb(wire, reply):
    wire.send(reply.with_body(bomb(), content_encoding="gzip"))


def page(wire, reply):
    wire.send(status(200, b"<!DOCTYPE html><title>Sign in</title>", "text/html; charset=utf-8"))


def empty(wire, reply):
    wire.send(reply.with_body(b""))


def endless(wire, reply):
    wire.send(reply.head(drop=["Content-Length"]), reply.body)
    wire.for_ever(b" " * 65536)


def answers(code, **fields):
    def fault(wire, reply):
        wire.send(status(code, **fields))
    fault.__name__ = "_".join([f"status_{code}", *(f"{name}_{value}" for name, value in fields.items())]).lower()
    return fault


def page_with_500(wire, reply):
    wire.send(status(500, b"<html>\n<h1>Internal error</h1>" + b"x" * 5000, "text/html"))
