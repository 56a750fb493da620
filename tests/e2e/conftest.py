"""Fixtures of the end-to-end tests: hub and engine, the base image, and projects that live as long as a module or a test."""

import contextlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from engine import engine  # noqa: E402,F401 (fixture)
from hubs import hub, running_hub  # noqa: E402,F401 (fixture)
from rootfs import base_image  # noqa: E402,F401 (fixture)
from story import REPO, Story, environment, make_glm, run  # noqa: E402


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
def glm_hub(root, *options):
    """The hub with the model of the story."""
    make_glm(root / REPO)
    with running_hub(root, *options) as running:
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
