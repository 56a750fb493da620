"""Each example gives the plan that stands beside it (its first line names host and time, and is left out)."""
import os
import shutil
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EXAMPLES = os.path.join(ROOT, "examples")


@pytest.mark.parametrize("name", sorted(entry for entry in os.listdir(EXAMPLES) if os.path.exists(f"{EXAMPLES}/{entry}/plan.txt")))
def test_plan(name, tmp_path):
    shutil.copytree(f"{EXAMPLES}/{name}", tmp_path / name)
    done = subprocess.run([os.environ["PROVISION"], "plan", "--ascii"], cwd=tmp_path / name, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n", 1)[1] == open(f"{EXAMPLES}/{name}/plan.txt").read()
    assert not (tmp_path / name / ".provision").exists()


def test_hello_is_applied_once(tmp_path):
    shutil.copytree(f"{EXAMPLES}/hello", tmp_path / "hello")
    run = lambda *words: subprocess.run([os.environ["PROVISION"], *words], cwd=tmp_path / "hello", capture_output=True, text=True, timeout=60)
    assert run("apply").returncode == 0
    assert (tmp_path / "hello/out/shout.txt").read_text() == "HELLO, WORLD\n"
    assert run("plan").stdout.startswith("Nothing to do: 2 targets up to date")
    assert "1 to redo" not in run("plan", "--set", "who=you").stdout
    assert "2 to redo" in run("plan", "--set", "who=you").stdout
