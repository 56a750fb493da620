"""Fixtures of the end-to-end tests: hub and engine, the base image, and projects that live as long as a module or a test."""

import contextlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import canary  # noqa: E402
from engine import engine  # noqa: E402,F401 (fixture)
from hubs import hub, running_hub  # noqa: E402,F401 (fixture)
from rootfs import base_image  # noqa: E402,F401 (fixture)
from story import REPO, Story, environment, make_glm, run  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def no_secret_anywhere(tmp_path_factory):
    """The canary's last word: nothing that the session said, wrote or started holds its secret."""
    watcher = canary.Watcher()
    watcher.thread.start()
    yield
    watcher.stop.set()
    watcher.thread.join()
    canary.look_at_files(tmp_path_factory.getbasetemp())
    assert not canary.found, f"{len(canary.found)} places hold the secret: {canary.found[:20]}"


def pytest_terminal_summary(terminalreporter):
    searched = ", ".join(f"{count} {what}" for what, count in canary.searched.items())
    terminalreporter.write_line(f"canary: looked through {searched}; found in {len(canary.found)}")


@pytest.fixture
def project(tmp_path):
    """An empty project directory."""
    directory = tmp_path / "project"
    directory.mkdir()
    return directory


@pytest.fixture
def provision(project, tmp_path):
    """provision("plan", "x.yaml", NAME=value...): runs in the project with a clean environment; exit code, stdout, stderr."""
    def call(*arguments, timeout=60, **env):
        return run([str(a) for a in arguments], project, environment(tmp_path, **env), timeout)
    return call


@contextlib.contextmanager
def glm_hub(root, *options, **env):
    """The hub with the model of the story."""
    make_glm(root / REPO)
    with running_hub(root, *options, **env) as running:
        yield running


@pytest.fixture(scope="session")
def model_hub(tmp_path_factory):
    with glm_hub(tmp_path_factory.mktemp("hubs") / "hub") as running:
        yield running


@contextlib.contextmanager
def told(directory, *arguments, **options):
    """A story that leaves nothing in the engine."""
    directory.mkdir()
    story = Story(directory, *arguments, **options)
    try:
        yield story
    finally:
        story.clean()


@pytest.fixture(scope="module")
def shared_story(tmp_path_factory, model_hub, engine, base_image):  # noqa: F811
    with told(tmp_path_factory.mktemp("story") / "project", model_hub, engine, base_image) as story:
        yield story
