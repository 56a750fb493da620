"""The canary's secret with a real container engine: a token, a service that gets it by `env_from`, and the secret of a build."""

import subprocess

import canary
import pytest
from conftest import glm_hub, told


@pytest.fixture
def story(tmp_path, engine, base_image):
    canary.permit(name="SERVICE_KEY")
    canary.permit(name="HUB_TOKEN")
    with glm_hub(tmp_path / "hub", "--token-env", "HUB_TOKEN", HUB_TOKEN=canary.SECRET) as hub:
        with told(tmp_path / "project", hub, engine, base_image, token="HF_TOKEN", SERVICE_KEY=canary.SECRET) as story:
            yield story


def test_container(story):
    story.edit("common.yaml", "    gpus: none", "    gpus: none\n    env_from: [SERVICE_KEY]")
    story.applied()
    told_of = story.container()
    assert f"SERVICE_KEY={canary.SECRET}" in told_of["Config"]["Env"]
    assert story.hub.stats()["authorized"] > 0 and story.hub.stats()["leaks"] == []
    for command in (["plan", "tp4.yaml", "-vv"], ["status", "tp4.yaml"], ["audit"], ["audit", "log"], ["logs", "service"], ["logs", "image"], ["audit", "show", "service"],
                    ["audit", "show", "image"], ["audit", "verify", "--deep"]):
        story.run(*command)
    canary.look_at_engine(story.docker, story.containers(), story.images())
    assert canary.searched["engine objects"] >= 2


def has_buildkit():
    try:
        return subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not has_buildkit(), reason="docker has no buildx plugin")
def test_build(story):
    """Seen by the step that mounts it, and in no layer."""
    story.edit("image/Dockerfile", "COPY server.py", "RUN --mount=type=secret,id=key test -s /run/secrets/key\nCOPY server.py")
    story.edit("common.yaml", "    context: image", "    context: image\n    secrets: {key: {env: SERVICE_KEY}}")
    story.applied("tp4.yaml", "image")
    assert story.images()
    layers = subprocess.run(["docker", "save", story.tag], env={"DOCKER_HOST": story.engine, "PATH": "/usr/local/bin:/usr/bin:/bin"}, capture_output=True, check=True).stdout
    canary.look(layers, "layers of the image")
