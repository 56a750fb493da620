"""Holds memory of the GPUs that it can see: a stand-in for a model server (with --port), for somebody else's program (without), or one rank of a server.

Writes to --report what it saw: CUDA_VISIBLE_DEVICES, the GPUs by UUID in the order of their numbers in here, and the sum of the ranks' all-reduce.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cards import cards

parser = argparse.ArgumentParser()
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int)
parser.add_argument("--mib", type=int, default=1024, help="of each GPU")
parser.add_argument("--part", type=float, help="of each GPU's memory, instead")
parser.add_argument("--report", type=Path, required=True)
parser.add_argument("--ranks", action="store_true", help="one process for each GPU, which add up their numbers over NCCL")
parser.add_argument("--rank", type=int)
parser.add_argument("--world", type=int)
parser.add_argument("--store")
parser.add_argument("--setting", help="means nothing: another one is another server")
options = parser.parse_args()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


def tell(**facts):
    new = options.report.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps({"pid": os.getpid(), "visible": os.environ.get("CUDA_VISIBLE_DEVICES"), **facts}))
    new.rename(options.report)


def start_ranks(world):
    """The sum that every rank came to; they go on holding their memory."""
    store = options.report.with_suffix(f".store{os.getpid()}")
    reports = [options.report.with_suffix(f".rank{os.getpid()}-{rank}") for rank in range(world)]
    ranks = [subprocess.Popen([sys.executable, __file__, "--report", str(report), "--rank", str(rank), "--world", str(world), "--store", str(store), "--mib",
                               str(options.mib)]) for rank, report in enumerate(reports)]
    while not all(report.exists() for report in reports):
        if any(rank.poll() is not None for rank in ranks):
            sys.exit("a rank has ended")
        time.sleep(0.02)
    told = [json.loads(report.read_text()) for report in reports]
    return {"sums": [rank["sum"] for rank in told], "ranks": [rank["pid"] for rank in told], "world": world}


def main():
    here = cards()
    if options.rank is not None:
        here.hold(options.rank, options.mib)
        tell(sum=here.all_reduce(options.rank, options.world, options.store))
    elif options.ranks:
        tell(uuids=here.uuids, **start_ranks(len(here.uuids)))
    else:
        for number in range(len(here.uuids)):
            here.hold(number, int(here.total(number) * options.part) if options.part else options.mib)
        tell(uuids=here.uuids, setting=options.setting)
    if options.port is None:
        while True:
            time.sleep(3600)
    ThreadingHTTPServer((options.host, options.port), Handler).serve_forever()


main()
