#!/usr/bin/env python3
"""Servers that misbehave: hubs, mirrors and a container engine over HTTP, HTTPS and a unix socket, by a table of faults.

    faults.py [PATTERN]    the rows: name, code or `right`, words that must be said

What is right comes from the test hub (fake/hub.py) and from a small engine (fault_engine.py). A fault is a function that gets the right reply and does something else with the
connection (fault_wire.py, fault_answers.py, fault_lists.py, fault_engine.py). A row of the table puts one fault at one place (a listing, the bytes of a file, a range that resumes, a call to the engine)
for so many times, and says what must come of it: the right bytes, or an exit status, one diagnostic code and words that name the culprit; and within which time. fault_site.py serves it.
"""

import dataclasses
import fnmatch
import sys

from fault_answers import *  # noqa: F403
from fault_engine import *  # noqa: F403
from fault_lists import *  # noqa: F403
from fault_listen import PORTS  # noqa: F401
from fault_site import Authority, Site  # noqa: F401
from fault_wire import *  # noqa: F403

ENV = {"DOCKER_BUILDKIT": "0", "PROVISION_STALL_TIMEOUT": "1s", "PROVISION_RETRY_PAUSE": "10ms", "PROVISION_ENGINE_TIMEOUT": "6s"}
LARGE = (endless, gzip_bomb, listing_without_end, pages_for_ever, sums_of_17_mib)
LIMIT = 30  # seconds that a row may take unless it says otherwise


@dataclasses.dataclass
class Row:
    name: str
    stage: str            # which manifest
    at: str               # which requests: a pattern of keys
    fault: object
    code: str = ""        # "": the right bytes
    words: tuple = ()
    times: int = -1
    skip: int = 0         # so many strike with `before` first
    before: object = None
    limit: float = LIMIT
    tls: str = ""
    more: str = ""        # lines of the target
    address: str = "127.0.0.1"

    @property
    def exit(self):
        return EXITS[self.code]

    @property
    def env(self):
        """All is to be over soon but what moves many bytes."""
        return ENV | ({"PROVISION_STALL_TIMEOUT": "15s", "PROVISION_ENGINE_TIMEOUT": "30s"} if self.fault in LARGE and self.stage != "pull" else {})


EXITS = {"": 0, "E0303": 65, "E0511": 69, "E0512": 4, "E0601": 69, "E0602": 66, "E0603": 77, "E0604": 69, "E0605": 69, "E0606": 1, "E0607": 69, "E0608": 69, "E0610": 65,
         "E0701": 69, "E0702": 1, "E0703": 1, "E0808": 1, "E0803": 1, "E0802": 1, "E0805": 4, "E0609": 73, "E0513": 4}

HEAD = "provision: 1\nname: faults\ntargets:\n"
MODEL = HEAD + "  weights:\n    rule: model\n    source: {source}\n    dir: out\n    token: {{env: CANARY}}\n{more}"
DOWNLOAD = HEAD + "  weights:\n    rule: download\n    url: {hub}/plain/" + f"{REPO}/{SHARD}\n    path: out/{SHARD}\n" + "    token: {{env: CANARY}}\n    sha256: {sha256}\n{more}"
SERVICE = HEAD + ("  service:\n    rule: service\n    runtime: docker\n    image: fault/server:1\n    gpus: none\n    port: {port}\n    env_from: [CANARY]\n"
                  "    stop_timeout: 1s\n    ready: {{timeout: 3s, interval: 50ms}}\n{more}")
PULL = HEAD + "  image:\n    rule: image\n    from: registry.invalid/server:1\n    tag: fault/pulled:1\n{more}"

STAGES = {
    "huggingface": MODEL.replace("{source}", f"huggingface:{REPO}"),
    "modelscope": MODEL.replace("{source}", f"modelscope:{REPO}"),
    "plain": MODEL.replace("{source}", "\"{hub}/plain/" + REPO + "\""),
    "download": DOWNLOAD + "    size: {size}B\n",
    "unsized": DOWNLOAD,
    "service": SERVICE,
    "pull": PULL,
    "build": HEAD + "  image:\n    rule: image\n    context: context\n    tag: fault/built:1\n    timeout: 6s\n{more}",
}

HERE = "127.0.0.1"
# Where a transfer can go wrong: name, stage, requests, words of the culprit.
JSON_PLACES = [
    ("info", "huggingface", "info", (HERE,)),
    ("tree", "huggingface", "tree", (HERE,)),
    ("commits", "modelscope", "commits", (HERE,)),
    ("files", "modelscope", "files", (HERE,)),
]
BYTE_PLACES = [
    ("download", "download", f"plain:{SHARD}", (SHARD,)),
    ("resume", "download", f"plain:{SHARD}", (SHARD,)),
    ("cdn", "huggingface", "cdn", (".safetensors",)),
    ("small", "huggingface", f"resolve:{CONFIG}", (CONFIG,)),
    ("file", "modelscope", f"file:{SHARD}", (SHARD,)),
    ("mirror", "plain", f"plain:{SHARD}", (SHARD,)),
]
ENGINE_PLACES = [
    ("ping", "service", "GET /_ping", ()),
    ("image", "service", "GET /images/*/json", ("inspect image `fault/server:1`",)),
    ("list", "service", "GET /containers/json", ("list containers",)),
    ("create", "service", "POST /containers/create", ("create container",)),
    ("start", "service", "POST /containers/*/start", ("start container",)),
    ("inspect", "service", "GET /containers/*/json", ("inspect container",)),
    ("logs", "service", "GET /containers/*/logs", ("log of container",)),
    ("pull", "pull", "POST /images/create", ("pull `registry.invalid/server:1`",)),
    ("build", "build", "POST /build", ("build",)),
]
ANSWERS = ("image", "list", "create", "inspect") # in JSON

# Fault; what comes of it in a listing, in bytes of a file. "" the right thing, None: not tried there.
TRANSFERS = [
    (close_before_head, "E0601", "E0601"),
    (reset_before_head, "E0601", "E0601"),
    (close_in_head, "E0601", "E0601"),
    (stall_before_head, "E0601", "E0601"),
    (stall_in_head, "E0601", "E0601"),
    (drip_head, "E0601", "E0601"),
    (close_in_body, "E0601", "E0601"),
    (reset_in_body, "E0601", "E0601"),
    (stall_in_body, "E0601", "E0601"),
    (drip_body, "E0601", "E0601"),
    (drip_for_ever, "E0601", None),
    (length_too_long, "E0601", "E0605"),
    (length_too_short, "E0605", "E0605"),
    (length_of_two_minds, "E0605", "E0601"),
    (ends_without_length, "", ""),
    (chunks, "", ""),
    (chunks_without_end, "E0601", "E0601"),
    (chunk_of_no_size, "E0601", "E0601"),
    (chunk_too_large, "E0601", "E0601"),
    (chunk_longer_than_said, "E0601", "E0601"),
    (headers_for_ever, "E0601", "E0601"),
    (header_of_a_megabyte, "E0601", "E0601"),
    (continue_for_ever, "E0601", "E0601"),
    (nul_in_head, "E0601", "E0601"),
    (another_protocol, "E0601", "E0601"),
    (no_head_at_all, "E0601", "E0601"),
    (gzipped, "E0605", "E0605"),
    (gzip_bomb, "E0605", "E0605"),
    (page, "E0605", "E0605"),
    (empty, "E0605", "E0605"),
    (endless, "E0605", ""),
    (answers(204), "E0605", "E0605"),
    (answers(400), "E0605", "E0605"),
    (answers(401), "E0603", "E0603"),
    (answers(403), "E0603", "E0603"),
    (answers(404), "E0602", "E0602"),
    (answers(410), "E0602", "E0602"),
    (answers(408), "E0601", "E0601"),
    (answers(429), "E0604", "E0604"),
    (answers(429, Retry_After=1_000_000_000), "E0604", "E0604"),
    (answers(429, Retry_After="soon"), "E0604", "E0604"),
    (answers(500), "E0601", "E0601"),
    (answers(501), "E0601", "E0601"),
    (answers(503, Retry_After=1_000_000_000), "E0601", "E0601"),
    (page_with_500, "E0601", "E0601"),
    (redirect_loop, "E0605", "E0605"),
    (redirect_to_file, "E0605", "E0605"),
    (redirect_to_ftp, "E0605", "E0605"),
    (redirect_to_http, "E0610", "E0610"),
    (redirect_to_metadata, "E0610", "E0610"),
    (redirect_to_garbage, "E0605", "E0605"),
    (redirect_with_password, "E0610", "E0610"),
    (redirect_nowhere, "E0605", "E0605"),
    (redirect_to_other_port, "", ""),
    (redirect_to_other_name, "", ""),
    (redirect_hops(4), None, ""),
    (redirect_hops(6), None, "E0605"),
    (other_bytes, None, "E0606"),
    (one_bit, None, "E0606"),
    (longer, None, "E0605"),
    (pointer, None, "E0605"),
    (not_satisfiable, "E0605", "E0605"),
    (range_unasked, None, "E0605"),
    (cookie, "", ""),
    (another_commit, None, ""),
]
# Where a range is answered that has all that is missing, more or other lengths harm nobody; other bytes are found out and fetched again as a whole.
BYTES_DIFFER = {("resume", length_too_long): "", ("resume", longer): "", ("resume", range_unasked): ""}
# The same of an engine: wherever it happens; in an answer of JSON; then places where another thing comes of it.
CALLS = [
    (close_before_head, "E0701"), (reset_before_head, "E0701"), (close_in_head, "E0701"), (stall_before_head, "E0701"), (stall_in_head, "E0701"), (drip_head, "E0701"),
    (headers_for_ever, "E0701"), (header_of_a_megabyte, "E0701"), (continue_for_ever, "E0701"), (another_protocol, "E0701"), (no_head_at_all, "E0701"),
    (answers(401), "E0701"), (answers(429), "E0701"), (answers(500), "E0701"), (page_with_500, "E0701"), (redirect_loop, "E0701"), (gzipped, "E0605"),
]
BODIES = [
    (close_in_body, "E0701"), (reset_in_body, "E0701"), (stall_in_body, "E0701"), (drip_body, "E0701"), (length_too_long, "E0701"), (length_too_short, "E0605"),
    (ends_without_length, ""), (chunks, ""), (chunks_without_end, "E0701"), (chunk_of_no_size, "E0701"), (chunk_too_large, "E0701"), (chunk_longer_than_said, "E0701"),
    (empty, "E0605"), (endless, "E0605"), (page, "E0605"), (other_bytes, "E0605"), (cut_at_each_byte, "E0605"), (said_in_slices, ""), (gzip_bomb, "E0605"),
]
UNREAD = (endless, gzipped, gzip_bomb)
CALLS_DIFFER = {("create", page): "E0701", ("list", drip_body): ""}
# Once, and all is well after it.
PASSING = [close_before_head, reset_before_head, close_in_head, stall_before_head, stall_in_head, close_in_body, reset_in_body, stall_in_body, chunks_without_end,
           answers(408), answers(429), answers(429, Retry_After=1), answers(429, Retry_After=0), answers(429, Retry_After=-5), answers(500), answers(502), answers(503),
           answers(503, Retry_After="soon"), answers(504)]
RANGES = [(range_ignored, ""), (range_as_200, ""), (range_shifted, "E0605"), (range_overlapping, "E0605"), (range_of_another_total, "E0605"), (range_beyond, "E0605"),
          (range_unsaid, "E0605"), (range_unreadable, "E0605"), (range_in_parts, "E0605"), (range_of_other_bytes, "")]
LISTINGS = [
    (torn, "E0605"), (deep, "E0605"), (prose, "E0605"), (bad_utf8, "E0605"), (lone_surrogate, "E0605"), (nul_in_name, "E0605"), (twice_the_same_key, "E0605"),
    (listing_is_a_number, "E0605"), (listing_of_numbers, "E0605"), (listing_without_names, "E0605"), (listing_without_sizes, "E0605"),
    (listing_without_end, "E0605"), (listing_with_a_link, "E0605"), (listing_is_empty, "E0602"),
    (sized("minus_one", "-1"), "E0605"), (sized("half", "1.5"), "E0605"), (sized("infinite", "1e999"), "E0605"), (sized("two_to_53", str(1 << 53)), "E0605"),
    (sized("two_to_63", str(1 << 63)), "E0605"), (sized("of_a_word", '"many"'), "E0605"),
]
HUGGINGFACE = [(listing_of_other_pointers, "E0605"), (listing_of_no_ids, "E0605"), (pages_in_a_circle, "E0605"), (pages_elsewhere, "E0605"), (pages_for_ever, "E0605")]
MODELSCOPE = [(listing_is_null, "E0602"), (listing_without_digests, "E0608"), (listing_of_wrong_digests, "E0606"), (listing_of_no_digests, "E0605"),
              (envelope_of_an_error, "E0605"), (envelope_of_nothing, "E0605")]
ECHOES = [echo_plain, echo_in_base64, echo_in_a_url, echo_in_json, echo_of_many, echo_in_a_redirect, echo_in_a_page, echo_in_the_bytes]
SUMS = [(sums_of_prose, "E0303"), (sums_too_short, "E0303"), (sums_that_climb, "E0303"), (sums_absolute, "E0303"), (sums_of_two_minds, "E0303"), (sums_of_17_mib, "E0303"),
        (sums_empty, "E0303"), (sums_with_nul, "E0303"), (page, "E0605"), (answers(404), "E0602"), (gzipped, "E0605"), (close_in_body, "E0601"), (endless, "E0605")]
NAMES = ["../x.json", "/etc/x.json", "a/../../x.json", "a\\..\\x.json", "C:\\x.json", "tab\tx.json", "bell\x07.json", "esc\x1b[2J.json", ".git/config", "a/.git/hooks/x.json",
         "Config.json", "..", ".", "", "a//x.json", "./x.json", "a/./x.json", "a/", "x" * 300 + ".json", "/".join(["d" * 100] * 40) + "/x.json", "/".join("d" * 40) + "/x.json",
         ".cache/x.json", ".provision/x.json", "model.safetensors.index.json/x.json"]
TLS = [("wrong_name", "E0601", ("certificate of `127.0.0.1`",)), ("self_signed", "E0601", ("certificate of `127.0.0.1`", "SSL_CERT_FILE")),
       ("expired", "E0601", ("certificate of `127.0.0.1`", "expired")), ("not_yet_valid", "E0601", ("certificate of `127.0.0.1`", "not yet valid")),
       ("tls_1_0", "E0601", (HERE,)), ("none", "E0601", (HERE,)), ("stalls", "E0601", (HERE,))]
# Over a right connection that is cut: what was to be had is whole, is found not to be, or has a digest that says so.
OVER_TLS = [("download", close_in_body, "E0601"), ("download", ends_without_length, ""), ("download", cut_without_length, "E0601"), ("download", redirect_to_http, "E0610"),
            ("download", redirect_to_other_port, "E0610"), ("tree", ends_without_length, ""), ("tree", cut_without_length, "E0605"), ("tree", close_in_body, "E0601")]
# Name, requests, fault, code, words, further fields.
ENGINE = [
    ("ping", no_version, "E0511", ("no Api-Version",)),
    ("ping", old_version, "E0513", ("1.24",)),
    ("ping", absurd_version, "", ()),
    ("ping", page, "E0511", ("no Api-Version",)),
    ("ping", close_in_body, "E0701", ("broke off",)),
    ("ping", endless, "E0605", ("longer than",)),
    ("ping", other_bytes, "", ()),
    ("start", page, "E0701", ("start container",)),
    ("start", empty, "", ()),
    ("start", started_twice, "", ()),
    ("create", created_without_id, "E0701", ("create container", "no id")),
    ("create", created_with_a_number, "E0701", ("create container", "no id")),
    ("create", message_of_a_megabyte, "E0701", ("create container",)),
    ("create", message_with_escapes, "E0701", ("create container", "bad")),
    ("create", no_space_left, "E0609", ("no space left",)),
    ("start", gone_before_start, "E0701", ("start container", "No such container")),
    ("start", gone_after_start, "E0803", ("removed",)),
    ("start", died_after_start, "E0803", ("out of luck",)),
    ("start", no_gpu_driver, "E0512", ("nvidia-container-toolkit",)),
    ("start", port_is_taken, "E0805", ("already allocated",)),
    ("logs", log_of_4_gib, "E0605", ("not the frames",)),
    ("logs", log_of_a_stranger, "E0605", ("not the frames",)),
    ("logs", log_of_many_frames, "", ()),
    ("logs", log_cut_in_a_frame, "", ()),
    ("logs", log_in_slices, "", ()),
    ("logs", log_without_end, "E0701", ("engine at unix://",)),
    ("logs", close_in_body, "E0701", ("engine at unix://", "broke off")),
    ("logs", stall_in_body, "E0701", ("engine at unix://",)),
    ("logs", chunks_without_end, "E0701", ("engine at unix://", "broke off")),
    ("logs", page, "E0605", ("log of container", "not the frames")),
    ("logs", empty, "", ()),
    ("logs", other_bytes, "E0605", ("log of container", "not the frames")),
    ("pull", close_in_body, "E0701", ("broke off",)),
    ("pull", reset_in_body, "E0701", ("broke off",)),
    ("pull", stall_in_body, "E0701", ("pull", "engine at unix://"), {"limit": 60}),
    ("pull", chunks_without_end, "E0701", ("broke off",)),
    ("pull", chunk_of_no_size, "E0701", ("broke off",)),
    ("pull", length_too_long, "E0701", ("broke off",)),
    ("pull", length_too_short, "E0701", ("broke off",)),
    ("pull", endless, "E0701", ("told nothing",), {"limit": 60}),
    ("build", said_in_slices, "", ()),
    ("build", close_in_body, "E0702", ("build", "unexpected EOF")),
    ("build", reset_in_body, "E0702", ("build",)),
    ("build", stall_in_body, "E0808", ("build", "6.0 s")),
    ("build", chunks_without_end, "E0702", ("build",)),
    ("build", torn, "E0702", ("build",)),
    ("build", page, "E0702", ("build",)),
    ("build", empty, "E0702", ("build",)),
    ("build", build_fails, "E0702", ("non-zero code",)),
    ("build", build_fills_the_disk, "E0609", ("no space left",)),
    ("build", build_without_an_id, "E0702", ("build", "id")),
    ("build", build_of_an_absent_id, "E0703", ("does not hold it",)),
    ("build", build_for_ever, "E0808", ("build", "6.0 s")),
    ("pull", said_in_slices, "", ()),
    ("pull", pull_denied, "E0703", ("pull access denied",)),
    ("pull", pull_of_half_an_object, "E0701", ("broke off",)),
    ("pull", pull_of_a_large_object, "E0701", ("1 MiB",)),
    ("pull", pull_of_many_layers, "", ()),
    ("pull", pull_of_nonsense, "", ()),
    ("pull", pull_dies, "E0701", ("broke off",)),
    ("pull", pull_that_brought_nothing, "E0703", ()),
]


def transfers():
    for fault, in_json, in_bytes in TRANSFERS:
        for places, code in ((JSON_PLACES, in_json), (BYTE_PLACES, in_bytes)):
            for place, stage, at, words in places if code is not None else ():
                resumes = {"skip": 1, "before": close_in_body} if place == "resume" else {}
                slow = {"limit": 120} if fault is drip_for_ever else {}
                yield Row(f"{place}-{fault.__name__}", stage, at, fault, BYTES_DIFFER.get((place, fault), code), words, **resumes, **slow)
    for fault in PASSING:
        for place, stage, at, _ in JSON_PLACES[1::2] + BYTE_PLACES[0:5:2]:
            yield Row(f"{place}-{fault.__name__}-once", stage, at, fault, times=1)
    for place, stage, at, _ in BYTE_PLACES:
        yield Row(f"{place}-burst_of_500", stage, at, answers(500), times=4)
    for fault, code in RANGES:
        yield Row(f"resume-{fault.__name__}", "download", f"plain:{SHARD}", fault, code, (SHARD,), skip=1, before=close_in_body)


def secrets():
    for fault in ECHOES:
        for place, stage, at, words in JSON_PLACES + BYTE_PLACES:
            code = {echo_in_a_redirect: "E0601", echo_in_a_page: "E0601", echo_in_the_bytes: "E0605"}.get(fault, "E0603")
            if place not in ("cdn", "resume"):
                yield Row(f"{place}-{fault.__name__}", stage, at, fault, code, words)
        if fault not in (echo_in_a_redirect, echo_in_the_bytes):
            yield Row(f"create-{fault.__name__}", "service", "POST /containers/create", fault, "E0701", ("create container",))


def listings():
    for fault, code in LISTINGS + HUGGINGFACE:
        yield Row(f"tree-{fault.__name__}", "huggingface", "tree", fault, code)
    for fault, code in LISTINGS + MODELSCOPE:
        yield Row(f"files-{fault.__name__}", "modelscope", "files", fault, code)
    for fault, code in SUMS:
        yield Row(f"sums-{fault.__name__}", "plain", "sums", fault, code, ("SHA256SUMS",))
    yield Row("tree-pages_of_the_public_hub", "huggingface", "tree", pages_of_the_public_hub, times=1)
    yield Row("files-commit_is_no_revision", "modelscope", "fil*", commit_is_no_revision)
    for number, name in enumerate(NAMES):
        for place, stage in (("tree", "huggingface"), ("files", "modelscope")):
            yield Row(f"{place}-name_{number}", stage, place, hostile(name), "E0607", more="    include: [\"*\"]\n")


def engines():
    places = {place: (stage, at) for place, stage, at, _ in ENGINE_PLACES}
    for faults, among in ((CALLS, places), (BODIES, ANSWERS)):
        for fault, code in faults:
            for place, stage, at, said in ENGINE_PLACES:
                found = CALLS_DIFFER.get((place, fault), "E0702" if place == "build" else code)
                # The command's client takes longer heads, and any number of them.
                found = "" if place == "build" and fault is header_of_a_megabyte else found
                silent = place == "build" and fault in (stall_before_head, stall_in_head, drip_head, continue_for_ever)
                # What is no answer is said of the engine, what is one of the call.
                found = "E0808" if silent else found
                words = said if place == "build" or "status" in fault.__name__ or (found == "E0605" and fault not in UNREAD) else ("engine at unix://",) if found else ()
                slow = {"limit": 60} if place == "pull" else {}
                if place in among:
                    yield Row(f"{place}-{fault.__name__}", stage, at, fault, found, words, **slow)
    for place, fault, code, words, *more in ENGINE:
        stage, at = places[place]
        yield Row(f"{place}-{fault.__name__}", stage, at, fault, code, words, **(more[0] if more else {}))


def encrypted():
    for place, stage, at in (("download", "download", f"plain:{SHARD}"), ("tree", "huggingface", "tree")):
        yield Row(f"{place}-tls_good", stage, at, None, times=0, tls="good")
        for kind, code, words in TLS:
            yield Row(f"{place}-tls_{kind}", stage, at, None, code, words, times=0, tls=kind)
    for place, fault, code in OVER_TLS:
        stage, at = ("huggingface", "tree") if place == "tree" else ("download", f"plain:{SHARD}")
        yield Row(f"{place}-tls-{fault.__name__}", stage, at, fault, code, (HERE,) if code else (), tls="good")


ROWS = {row.name: row for group in (transfers, secrets, listings, engines, encrypted) for row in group()}


def main():
    pattern = sys.argv[1] if len(sys.argv) > 1 else "*"
    for row in ROWS.values():
        if fnmatch.fnmatchcase(row.name, pattern):
            print(f"{row.name:48} {row.code or 'right':6} {' '.join(row.words)}")


if __name__ == "__main__":
    main()
