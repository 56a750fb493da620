"""Faults of what says which files there are: listings of hubs, and lists of checksums."""

import hashlib
import json
import re
import urllib.parse

from fault_wire import fake, status


def listing(name, change, entries=True):
    """The listing as JSON, changed: of its list of entries, or of the whole."""
    def fault(wire, reply):
        value = reply.json
        place = value["Data"]["Files"] if entries and isinstance(value, dict) else value
        changed = change(place, reply)
        if not isinstance(changed, bytes) and entries and isinstance(value, dict):
            value["Data"]["Files"] = changed
            changed = value
        wire.send(reply.with_json(changed))
    fault.__name__ = f"listing_{name}"
    return fault


def is_modelscope(entries):
    return "Path" in entries[0]


def entry(entries, path, size=0, **more):
    if is_modelscope(entries):
        return {"Name": path, "Path": path, "Type": "blob", "Mode": "33188", "Size": size, "Sha256": hashlib.sha256().hexdigest()} | more
    return {"type": "file", "oid": fake.git_blob(0, []), "size": size, "path": path} | more


def sized(name, size):
    """A size that is none, as it stands in the text."""
    def fault(wire, reply):
        text = reply.body.decode()
        changed = re.sub(rf'("[sS]ize": ){reply.site.size}\b', lambda found: found[1] + size, text)
        assert changed != text
        wire.send(reply.with_json(changed.encode()))
    fault.__name__ = f"size_{name}"
    return fault


def torn(wire, reply):
    wire.send(reply.with_body(reply.body[: len(reply.body) // 2]))


def deep(wire, reply):
    wire.send(reply.with_body(b"[" * 100_000 + b"]" * 100_000))


def prose(wire, reply):
    wire.send(reply.with_body(b"all is well"))


def bad_utf8(wire, reply):
    wire.send(reply.with_body(reply.body.replace(b"config.json", b"config\xff.json", 1)))


def lone_surrogate(wire, reply):
    wire.send(reply.with_body(reply.body.replace(b"config.json", b"config\\ud800.json", 1)))


def nul_in_name(wire, reply):
    wire.send(reply.with_body(reply.body.replace(b"config.json", b"config\\u0000.json", 1)))


def twice_the_same_key(wire, reply):
    wire.send(reply.with_body(re.sub(rb'("[sS]ize": \d+)', rb"\1, \1", reply.body, count=1)))


listing_is_a_number = listing("is_a_number", lambda value, reply: 7, False)
listing_is_null = listing("is_null", lambda value, reply: None)
listing_is_empty = listing("is_empty", lambda value, reply: [])
listing_of_numbers = listing("of_numbers", lambda value, reply: [1, 2, 3])
listing_without_names = listing("without_names", lambda value, reply: [{key: v for key, v in one.items() if key not in ("path", "Path")} for one in value])
listing_without_sizes = listing("without_sizes", lambda value, reply: [{key: v for key, v in one.items() if key not in ("size", "Size")} for one in value])
listing_without_end = listing("without_end", lambda value, reply: value + [entry(value, f"f{n}.json") for n in range(100_001)])
listing_with_a_link = listing("with_a_link", lambda value, reply: value + [entry(value, "link.json", type="unknown")
                                                                           | ({"Mode": "40960", "Type": "blob"} if is_modelscope(value) else {})])
listing_without_digests = listing("without_digests", lambda value, reply: [one | {"Sha256": ""} for one in value])
listing_of_wrong_digests = listing("of_wrong_digests", lambda value, reply: [one | {"Sha256": "ab" * 32} for one in value])
listing_of_no_digests = listing("of_no_digests", lambda value, reply: [one | {"Sha256": "no digest"} for one in value])
listing_of_other_pointers = listing("of_other_pointers", lambda value, reply: [one | ({"oid": "1" * 40} if "lfs" in one else {}) for one in value])
listing_of_no_ids = listing("of_no_ids", lambda value, reply: [one | {"oid": "none"} for one in value])
commit_of_no_hex = listing("commit_of_no_hex", lambda value, reply: value | {"sha": "main"}, False)
envelope_of_an_error = listing("envelope_of_an_error", lambda value, reply: {"Code": 10010205001, "Success": False, "Message": "\u670d\u52a1\u5668\u9519\u8bef", "Data": None}, False)
envelope_of_nothing = listing("envelope_of_nothing", lambda value, reply: {}, False)


def hostile(name):
    return listing("hostile", lambda value, reply: value + [entry(value, name)])


def pages(name, link):
    def fault(wire, reply):
        wire.send(reply.head(link=f'<{link(reply)}>; rel="next"'), reply.body)
    fault.__name__ = f"pages_{name}"
    return fault


def following(reply):
    path, _, query = reply.path.partition("?")
    step = int(dict(urllib.parse.parse_qsl(query)).get("cursor", "0")) + 1
    return f"{reply.site.hub.url}{path}?cursor={step}"


pages_in_a_circle = pages("in_a_circle", lambda reply: f"{reply.site.hub.url}{reply.path}")
pages_elsewhere = pages("elsewhere", lambda reply: f"{reply.site.elsewhere.url}{reply.path}")


def pages_for_ever(wire, reply):
    wire.send(reply.with_body(b"[]", link=f'<{following(reply)}>; rel="next"'))


def pages_of_the_public_hub(wire, reply):
    """A mirror whose links lead to the hub that it mirrors."""
    path = reply.path.partition("?")[0]
    wire.send(reply.with_body(json.dumps(reply.json[:3]).encode(), link=f'<https://huggingface.co{path}?cursor=3>; rel="next"'))


def commit_is_no_revision(wire, reply):
    """ModelScope takes names of branches alone."""
    if re.search(r"Revision=[0-9a-f]{40}", reply.path):
        wire.send(status(404, b'{"Code": 10010205001, "Success": false, "Message": "revision not exist", "Data": null}'))
    else:
        wire.send(reply.head(), reply.body)


# ------------------------------------------------------------------ checksum lists


def sums(name, change):
    def fault(wire, reply):
        wire.send(reply.with_body(change(reply.body)))
    fault.__name__ = f"sums_{name}"
    return fault


sums_of_prose = sums("of_prose", lambda text: b"not a list of checksums\n")
sums_too_short = sums("too_short", lambda text: text[1:])
sums_that_climb = sums("that_climb", lambda text: text + b"0" * 64 + b"  ../config.json\n")
sums_absolute = sums("absolute", lambda text: text + b"0" * 64 + b"  /etc/config.json\n")
sums_of_two_minds = sums("of_two_minds", lambda text: text + b"1" * 64 + b"  config.json\n")
sums_of_17_mib = sums("of_17_mib", lambda text: text + (b"0" * 64 + b"  x" + b"y" * 900 + b"\n") * 18_000)
sums_empty = sums("empty", lambda text: b"")
sums_with_nul = sums("with_nul", lambda text: text + b"0" * 64 + b"  a\0b\n")
