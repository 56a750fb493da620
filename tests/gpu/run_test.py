"""tests/gpu/run on a machine without GPUs: rehearsed, with the answers that real drivers gave, and with flaws that its rows must see."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
BUILD = os.environ.get("PROVISION_BUILD", "build")
PROGRAM = os.environ.get("PROVISION", f"{BUILD}/cli/provision")
RECORDED = sorted(HERE.glob("*.json"))
ALL = 29


def run(*arguments, **env):
    done = subprocess.run([sys.executable, HERE / "run", "--programs", BUILD, "--provision", PROGRAM, *map(str, arguments)], env=os.environ | env,
                          capture_output=True, text=True, timeout=300, check=False)
    counts = re.search(r"(\d+) ok, (\d+) failed, (\d+) not run", done.stdout)
    assert counts, done.stdout + done.stderr
    return done, [int(count) for count in counts.groups()]


@pytest.mark.parametrize("gpus, not_run", [(1, 8), (4, 0)])
def test_rehearsal(gpus, not_run):
    done, counts = run("--rehearse", "--gpus", gpus)
    assert done.returncode == 0 and counts == [ALL - not_run, 0, not_run], done.stdout + done.stderr
    assert done.stdout.count("needs 2 GPUs") == not_run


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda path: path.stem)
def test_answers_of_a_real_driver(recorded):
    done, (good, failed, _) = run("--replay", recorded)
    assert done.returncode == 0 and failed == 0 and good >= 11, done.stdout + done.stderr


def test_there_are_recordings():
    assert RECORDED


@pytest.mark.parametrize("flaw, only, words", [
    ("touch", "NCCL on all but GPU 0", "GPU 0 was left out: 0 bytes in use before, 0 to 3145728"),
    ("touch", "select by index", "the driver shows it on GPUs [0, 1]"),
    ("lie", "capability", "'8.6' here, '7.0' by nvidia-smi"),
])
def test_rows_can_fail(flaw, only, words):
    done, counts = run("--rehearse", "--only", only, GPU_RUN_FLAW=flaw)
    assert done.returncode == 1 and counts == [0, 1, 0] and words in done.stdout, done.stdout + done.stderr
