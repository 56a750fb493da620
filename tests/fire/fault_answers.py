"""Faults of what an answer says: redirects, secrets that come back, ranges, other bytes."""

import base64
import hashlib
import json
import random
import re
import urllib.parse

from fault_wire import fake, status


def redirects(name, location):
    def fault(wire, reply):
        wire.send(status(302, b"", Location=location(reply)))
    fault.__name__ = f"redirect_{name}"
    return fault


redirect_loop = redirects("loop", lambda reply: reply.path)
redirect_to_file = redirects("to_file", lambda reply: "file:///etc/passwd")
redirect_to_ftp = redirects("to_ftp", lambda reply: "ftp://127.0.0.1/x")
redirect_to_http = redirects("to_http", lambda reply: "http://example.invalid/x")
redirect_to_metadata = redirects("to_metadata", lambda reply: "http://169.254.169.254/latest/meta-data")
redirect_to_garbage = redirects("to_garbage", lambda reply: "http://[::1/x")
redirect_with_password = redirects("with_password", lambda reply: reply.site.hub.url.replace("//", "//user:word@") + reply.path)
redirect_to_other_port = redirects("to_other_port", lambda reply: reply.site.elsewhere.url + reply.path)
redirect_to_other_name = redirects("to_other_name", lambda reply: reply.site.elsewhere.url.replace("127.0.0.1", "localhost") + reply.path)


def redirect_nowhere(wire, reply):
    wire.send(status(302, b""))


def redirect_hops(hops):
    """`hops` redirects, then the right answer."""
    def fault(wire, reply):
        found = re.search(r"[?&]step=(\d+)", reply.path)
        step = int(found[1]) if found else 0
        if step == hops:
            wire.send(reply.head(), reply.body)
        else:
            plain = re.sub(r"[?&]step=\d+", "", reply.path)
            wire.send(status(302, b"", Location=f"{plain}{'&' if '?' in plain else '?'}step={step + 1}"))
    fault.__name__ = f"redirect_{hops}_times"
    return fault


# ------------------------------------------------------------------ secrets that come back


def secret_of(reply):
    """What the client sent that nobody else is to see: its token, or a variable of a container."""
    given = reply.request.get("Authorization", "").removeprefix("Bearer ")
    return given or next((one.partition("=")[2] for one in json.loads(reply.sent or "{}").get("Env", []) if one.startswith("CANARY=")), "")


def echo(name, spell):
    def fault(wire, reply):
        text = f"the token {spell(secret_of(reply))} may not"
        body = {"error": text, "message": text, "errors": [{"message": text}]}
        wire.send(status(403, json.dumps(body).encode(), X_Error_Message=text, X_Error_Code="Denied"))
    fault.__name__ = f"echo_{name}"
    return fault


echo_plain = echo("plain", str)
echo_in_base64 = echo("in_base64", lambda secret: base64.b64encode(secret.encode()).decode())
echo_in_a_url = echo("in_a_url", lambda secret: "https://x.invalid/?token=" + urllib.parse.quote(secret, safe=""))
echo_in_json = echo("in_json", lambda secret: json.dumps({"token": secret}))
echo_of_many = echo("of_many", lambda secret: secret * 50)


def echo_in_a_redirect(wire, reply):
    wire.send(status(302, b"", Location="http://127.0.0.1:9/x?token=" + urllib.parse.quote(secret_of(reply), safe="")))


def echo_in_a_page(wire, reply):
    wire.send(status(500, f"<html>{secret_of(reply)}</html>".encode(), "text/html"))


def echo_in_the_bytes(wire, reply):
    wire.send(reply.with_body(secret_of(reply).encode() * 9))


# ------------------------------------------------------------------ ranges and bytes


def ranged(name, change):
    def fault(wire, reply):
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", reply.request.get("Range", ""))
        if not found:
            wire.send(reply.head(), reply.body)
            return
        first, last = int(found[1]), int(found[2])
        change(wire, reply, first, last, reply.site.size)
    fault.__name__ = f"range_{name}"
    return fault


def partial(reply, content_range):
    return reply.head(b"HTTP/1.1 206 Partial Content", content_range=content_range)


range_ignored = ranged("ignored", lambda wire, reply, a, b, t: wire.send(reply.head(b"HTTP/1.1 200 OK", ["Content-Range"], content_length=t), reply.site.content))
range_as_200 = ranged("as_200", lambda wire, reply, a, b, t: wire.send(reply.head(b"HTTP/1.1 200 OK", content_range=f"bytes {a}-{b}/{t}"), reply.body))
range_shifted = ranged("shifted", lambda wire, reply, a, b, t: wire.send(partial(reply, f"bytes {a + 1}-{b}/{t}"), reply.body))
range_overlapping = ranged("overlapping", lambda wire, reply, a, b, t: wire.send(partial(reply, f"bytes {a - 500}-{b}/{t}"), reply.site.content[a - 500 :]))
range_of_another_total = ranged("of_another_total", lambda wire, reply, a, b, t: wire.send(partial(reply, f"bytes {a}-{b}/{t + 1}"), reply.body))
range_beyond = ranged("beyond", lambda wire, reply, a, b, t: wire.send(partial(reply, f"bytes {a}-{b + 9}/{t}"), reply.body + b"123456789"))
range_unsaid = ranged("unsaid", lambda wire, reply, a, b, t: wire.send(reply.head(b"HTTP/1.1 206 Partial Content", ["Content-Range"]), reply.body))
range_unreadable = ranged("unreadable", lambda wire, reply, a, b, t: wire.send(partial(reply, "bytes 18446744073709551616-x/*"), reply.body))
range_in_parts = ranged("in_parts", lambda wire, reply, a, b, t: wire.send(partial(reply, f"bytes {a}-{b}/{t}").replace(
    b"application/octet-stream", b"multipart/byteranges; boundary=x"), reply.body))
range_of_other_bytes = ranged("of_other_bytes", lambda wire, reply, a, b, t: wire.send(partial(reply, f"bytes {a}-{b}/{t}"), b"\xff" * (b - a + 1)))


def range_unasked(wire, reply):
    wire.send(reply.head(b"HTTP/1.1 206 Partial Content"), reply.body)


def not_satisfiable(wire, reply):
    wire.send(status(416, b"", Content_Range="bytes */0"))


def one_bit(wire, reply):
    content = bytearray(reply.body)
    content[len(content) // 3] ^= 1
    wire.send(reply.head(), bytes(content))


def pointer(wire, reply):
    text = fake.pointer_text(hashlib.sha256(reply.site.content).hexdigest(), reply.site.size)
    wire.send(reply.with_body(text, b"HTTP/1.1 200 OK", ["Content-Range"]))


def longer(wire, reply):
    wire.send(reply.with_body(reply.body + b"0123456789"))


def other_bytes(wire, reply):
    wire.send(reply.head(), random.Random(7).randbytes(len(reply.body)))


def another_commit(wire, reply):
    wire.send(reply.head(x_repo_commit="0" * 40), reply.body)


def cookie(wire, reply):
    wire.send(reply.head(set_cookie="session=evil; Path=/"), reply.body)
