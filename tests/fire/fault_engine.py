"""A container engine as far as provision asks it, and its faults."""

import hashlib
import json
import re
import struct
import threading
import time
import urllib.parse

from fault_listen import Healthy, Listener
from fault_wire import chunked, status


class Engine:
    """The Engine API as far as provision asks it: images that are there, containers that listen where they are told to."""

    def __init__(self, site):
        self.site, self.lock = site, threading.Lock()
        self.images, self.containers, self.pullable = {}, {}, set()

    def image(self, ref):
        name, _, digest = ref.partition("@")
        with self.lock:
            return next((i for i in self.images.values() if ref in (i["Id"], *i["RepoTags"], *i["RepoDigests"]) or (not digest and name in i["RepoTags"])), None)

    def add_image(self, ref):
        sha = hashlib.sha256(ref.encode()).hexdigest()
        self.images[sha] = {"Id": f"sha256:{sha}", "RepoTags": [ref], "RepoDigests": [f"{ref.rsplit(':', 1)[0]}@sha256:{sha}"], "Os": "linux",
                            "Architecture": "amd64", "Size": 1, "Config": {"Labels": {}}, "RootFS": {"Type": "layers", "Layers": []}}

    def answer(self, method, path, query, body):
        """(status, value): what a good engine says."""
        for wanted, pattern, handler in self.ROUTES:
            found = re.fullmatch(pattern, path)
            if method == wanted and found:
                return handler(self, *map(urllib.parse.unquote, found.groups()), query=query, body=body)
        return 404, {"message": "page not found"}

    def ping(self, query, body):
        return 200, b"OK"

    def inspect_image(self, ref, query, body):
        found = self.image(ref)
        return (200, found) if found else (404, {"message": f"No such image: {ref}"})

    def tag_image(self, ref, query, body):
        found = self.image(ref)
        if found:
            found["RepoTags"].append(f"{query['repo']}:{query['tag']}")
        return (201, b"") if found else (404, {"message": f"No such image: {ref}"})

    def pull(self, query, body):
        ref = f"{query['fromImage']}:{query['tag']}"
        self.add_image(ref)
        said = [{"status": "Pulling from x", "id": query["tag"]}]
        said += [{"status": "Downloading", "progressDetail": {"current": n, "total": 50}, "id": "layer"} for n in range(0, 50, 10)]
        said += [{"status": "Pull complete", "progressDetail": {}, "id": "layer"}, {"status": f"Digest: sha256:{'0' * 64}"}]
        return 200, "".join(json.dumps(one) + "\r\n" for one in said).encode()

    def build(self, query, body):
        self.add_image(query["t"])
        said = [{"stream": f"Step {n}/9 : COPY x /x{n}\n"} for n in range(1, 10)]
        said += [{"aux": {"ID": self.image(query["t"])["Id"]}}, {"stream": "Successfully built\n"}]
        return 200, "".join(json.dumps(one) + "\r\n" for one in said).encode()

    def distribution(self, ref, query, body):
        return 200, {"Descriptor": {"digest": f"sha256:{hashlib.sha256(ref.encode()).hexdigest()}"}}

    def list_containers(self, query, body):
        wanted = json.loads(query.get("filters", "{}")).get("label", [])
        with self.lock:
            return 200, [{"Id": key, "Labels": c["Config"]["Labels"], "State": "running"} for key, c in self.containers.items()
                         if all(c["Config"]["Labels"].get(w.partition("=")[0]) == w.partition("=")[2] for w in wanted)]

    def create(self, query, body):
        asked = json.loads(body)
        key = hashlib.sha256(f"{query.get('name')}{time.monotonic_ns()}".encode()).hexdigest()
        with self.lock:
            self.containers[key] = {"Id": key, "Image": asked["Image"], "Config": {"Labels": asked["Labels"], "Env": asked["Env"]}, "HostConfig": asked["HostConfig"],
                                    "State": {"Running": False, "ExitCode": 0, "Error": "", "OOMKilled": False}, "server": None, "log": b"listening\n"}
        return 201, {"Id": key, "Warnings": []}

    def start(self, key, query, body):
        with self.lock:
            container = self.containers.get(key)
            if not container:
                return 404, {"message": f"No such container: {key}"}
            (binding,), = container["HostConfig"]["PortBindings"].values()
            container["server"] = Listener(int(binding["HostPort"]), Healthy)
            container["State"]["Running"] = True
        return 204, b""

    def inspect_container(self, key, query, body):
        with self.lock:
            found = self.containers.get(key)
            return (200, {k: v for k, v in found.items() if k not in ("server", "log")}) if found else (404, {"message": f"No such container: {key}"})

    def logs(self, key, query, body):
        container = self.containers.get(key)
        return (200, frame(container["log"])) if container else (404, {"message": f"No such container: {key}"})

    def stop(self, key, query, body):
        with self.lock:
            container = self.containers.get(key)
            if container and container["server"]:
                container["server"].end()
                container["server"], container["State"]["Running"] = None, False
        return (204, b"") if container else (404, {"message": f"No such container: {key}"})

    def remove(self, key, query, body):
        self.stop(key, query, body)
        with self.lock:
            return (204, b"") if self.containers.pop(key, None) else (404, {"message": f"No such container: {key}"})

    def end(self):
        for key in list(self.containers):
            self.remove(key, {}, b"")

    ROUTES = (
        ("GET", "/_ping", ping), ("HEAD", "/_ping", ping), ("GET", "/images/(.+)/json", inspect_image), ("POST", "/images/create", pull), ("POST", "/build", build),
        ("POST", "/images/(.+)/tag", tag_image), ("GET", "/distribution/(.+)/json", distribution), ("GET", "/containers/json", list_containers),
        ("POST", "/containers/create", create), ("POST", "/containers/([^/]+)/start", start), ("GET", "/containers/([^/]+)/json", inspect_container),
        ("GET", "/containers/([^/]+)/logs", logs), ("POST", "/containers/([^/]+)/stop", stop), ("DELETE", "/containers/([^/]+)", remove),
    )


def frame(text, stream=1, size=None):
    return struct.pack(">BxxxI", stream, len(text) if size is None else size) + text


def log_of(name, content):
    def fault(wire, reply):
        wire.send(reply.with_body(content))
    fault.__name__ = f"log_{name}"
    return fault


log_of_4_gib = log_of("of_4_gib", frame(b"x" * 1000, size=0xFFFFFFFF))
log_of_a_stranger = log_of("of_a_stranger", b"plain text where frames belong\n" * 9)
log_of_many_frames = log_of("of_many_frames", b"".join(frame(b"%d " % n, 1 + n % 2) for n in range(2000)) + frame(b"") + frame(b"\n"))
log_cut_in_a_frame = log_of("cut_in_a_frame", frame(b"line\n") + frame(b"half")[:10])


def log_in_slices(wire, reply):
    """Cut into single bytes: it says the same."""
    wire.send(reply.head(drop=["Content-Length"], transfer_encoding="chunked"), chunked(reply.body, 1) + b"0\r\n\r\n")


def log_without_end(wire, reply):
    wire.send(reply.head(drop=["Content-Length"]))
    wire.for_ever(frame(b"spam\n" * 1000))


def says(name, change):
    """JSON with another content."""
    def fault(wire, reply):
        wire.send(reply.with_json(change(reply.json)))
    fault.__name__ = name
    return fault


created_without_id = says("created_without_id", lambda value: {"Warnings": []})
created_with_a_number = says("created_with_a_number", lambda value: {"Id": 7})


def said_in_slices(wire, reply):
    wire.send(reply.head(drop=["Content-Length"], transfer_encoding="chunked"), chunked(reply.body, 1) + b"0\r\n\r\n")


def cut_at_each_byte(wire, reply):
    """Each time one byte more, right length: none of them is the whole."""
    cut = reply.site.count("cut") % max(len(reply.body), 1)
    wire.send(reply.with_body(reply.body[:cut]))


def gone_before_start(wire, reply):
    """Somebody was quicker to remove what was created."""
    reply.site.engine.end()
    wire.send(status(404, json.dumps({"message": f"No such container: {reply.path.split('/')[-2]}"}).encode()))


def gone_after_start(wire, reply):
    wire.send(reply.head(), reply.body)
    reply.site.engine.end()


def died_after_start(wire, reply):
    wire.send(reply.head(), reply.body)
    for container in list(reply.site.engine.containers.values()):
        reply.site.engine.stop(container["Id"], {}, b"")
        container["State"].update(ExitCode=3, Running=False)
        container["log"] = b"RuntimeError: out of luck\n"


def started_twice(wire, reply):
    wire.send(status(304, b""))


def no_gpu_driver(wire, reply):
    wire.send(status(500, b'{"message":"could not select device driver \\"\\" with capabilities: [[gpu]]"}'))


def port_is_taken(wire, reply):
    wire.send(status(500, b'{"message":"driver failed programming external connectivity: Bind for 127.0.0.1:8000 failed: port is already allocated"}'))


def no_space_left(wire, reply):
    wire.send(status(500, b'{"message":"write /var/lib/docker/x: no space left on device"}'))


def message_of_a_megabyte(wire, reply):
    wire.send(status(500, json.dumps({"message": "x" * 1_000_000}).encode()))


def message_with_escapes(wire, reply):
    wire.send(status(500, json.dumps({"message": "bad \x1b[31m\x07 thing"}).encode()))


def no_version(wire, reply):
    wire.send(status(200, b"OK", "text/plain"))


def old_version(wire, reply):
    wire.send(status(200, b"OK", "text/plain", Api_Version="1.24", Server="Docker/1.12"))


def absurd_version(wire, reply):
    wire.send(status(200, b"OK", "text/plain", Api_Version="9" * 5000, Server="x" * 5000))


def pull_of(name, text):
    def fault(wire, reply):
        wire.send(reply.head(drop=["Content-Length"], transfer_encoding="chunked"), chunked(text) + b"0\r\n\r\n")
    fault.__name__ = f"pull_{name}"
    return fault


pull_denied = pull_of("denied", b'{"errorDetail":{"message":"pull access denied for x, repository does not exist"},"error":"pull access denied"}\r\n')
pull_of_half_an_object = pull_of("of_half_an_object", b'{"status":"Downloading","id":"a"}\r\n{"status":"Downl')
pull_of_a_large_object = pull_of("of_a_large_object", b'{"status":"' + b"x" * (2 << 20) + b'"}\r\n')
pull_of_many_layers = pull_of("of_many_layers", b"".join(b'{"status":"Downloading","id":"l%d","progressDetail":{"current":1,"total":-9}}\n' % n for n in range(3000)))
pull_of_nonsense = pull_of("of_nonsense", b"}}}]]]" + b'{"status": 7, "id": [], "progressDetail": 3}')


def pull_dies(wire, reply):
    wire.send(reply.head(drop=["Content-Length"], transfer_encoding="chunked"), chunked(reply.body)[: len(reply.body) // 2])


def pull_that_brought_nothing(wire, reply):
    reply.site.engine.images.clear()
    wire.send(reply.head(), reply.body)


def build_fails(wire, reply):
    wire.send(reply.with_body(b'{"stream":"Step 1/1 : RUN false\\n"}\r\n{"errorDetail":{"code":1,"message":"The command \'false\' returned a non-zero code: 1"},"error":"failed"}\r\n'))


def build_fills_the_disk(wire, reply):
    wire.send(reply.with_body(b'{"errorDetail":{"message":"write /x: no space left on device"},"error":"no space left on device"}\r\n'))


def build_without_an_id(wire, reply):
    reply.site.engine.images.clear()
    wire.send(reply.with_body(b'{"stream":"Step 1/1 : COPY x /x\\n"}\r\n'))


def build_of_an_absent_id(wire, reply):
    reply.site.engine.images.clear()
    wire.send(reply.head(), reply.body)


def build_for_ever(wire, reply):
    wire.send(reply.head(drop=["Content-Length"]))
    wire.for_ever(b'{"stream":"' + b"still at it " * 80 + b'\\n"}\r\n', 0.01)
