"""A small base image out of files of this machine: Python with the larger part of its library, and a shell. No registry is asked.

`import_base(host)` gives its name. The image is the same whenever the files are the same, and is imported only once into an engine.
"""

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from engine import docker

NAME = "provision-test/base:1"
LABEL = "provision-test.content"
LEFT_OUT = {"test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "distutils", "__pycache__", "config", "dist-packages",
            "site-packages", "pydoc_data", "msilib", "unittest", "venv", "curses", "dbm", "wsgiref", "xmlrpc"}


def libraries(program):
    """The loader and the libraries that a program needs, as ldd tells them."""
    found = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return [path for path in re.findall(r"(?:=> )?(/\S+) \(0x", found)]


def python_program():
    """The system's own interpreter: one of a virtual environment would need its base as well."""
    for name in ("/usr/bin/python3", sys.executable):
        if Path(name).exists():
            return Path(name).resolve()
    raise RuntimeError("no Python to put into the image")


def library_files(program):
    """Files of the standard library, and of the extensions that need no more than a few libraries."""
    ask = "import sysconfig; p = sysconfig.get_paths(); print(p['stdlib'])"
    root = Path(subprocess.run([program, "-I", "-c", ask], capture_output=True, text=True, check=True).stdout.strip())
    for directory, names, files in os.walk(root):
        names[:] = sorted(n for n in names if n not in LEFT_OUT and not n.startswith("config-"))
        for name in sorted(files):
            if name.endswith((".py", ".so")) and not name.startswith(("_test", "_tkinter", "_curses", "_dbm", "_gdbm")):
                yield Path(directory) / name


def files():
    """Path in the image -> path on this machine."""
    python = python_program()
    wanted = {f"/usr/bin/{python.name}": python}
    needed = set(libraries(python))
    for path in library_files(python):
        wanted[str(path)] = path
        if path.suffix == ".so":
            needed.update(libraries(path))
    for library in needed:
        wanted[library] = Path(library).resolve()
    busybox = shutil.which("busybox")
    if not busybox:
        raise RuntimeError("busybox (statically linked) is needed for /bin/sh")
    wanted["/bin/busybox"] = Path(busybox).resolve()
    for library in libraries(busybox):
        wanted[library] = Path(library).resolve()
    return wanted, python.name


def links(python):
    """Symlinks of the image; Debian's merged /usr is kept apart here: files lie where they are named."""
    tools = ["sh", "cat", "echo", "env", "false", "ls", "mkdir", "sleep", "true", "uname", "wc"]
    yield from ((f"bin/{tool}", "busybox") for tool in tools)
    yield "usr/bin/python3", python
    yield "usr/bin/python", python


def entry(name, kind, mode, size=0):
    """A member without owner or time, so that the same files give the same archive."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = mode
    info.size = size
    return info


def write_archive(path):
    """Write the root file system; its digest."""
    wanted, python = files()
    texts = {"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", "etc/group": "root:x:0:\nnogroup:x:65534:\n"}
    directories = {"tmp": 0o1777, "root": 0o700, "etc": 0o755}
    for name in [n.lstrip("/") for n in wanted] + [n for n, _ in links(python)]:
        for parent in Path(name).parents:
            if str(parent) != ".":
                directories.setdefault(str(parent), 0o755)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, mode in sorted(directories.items()):
            archive.addfile(entry(name, tarfile.DIRTYPE, mode))
        for name, source in sorted(wanted.items()):
            with source.open("rb") as content:
                mode = 0o755 if os.access(source, os.X_OK) else 0o644
                archive.addfile(entry(name.lstrip("/"), tarfile.REGTYPE, mode, source.stat().st_size), content)
        for name, text in texts.items():
            archive.addfile(entry(name, tarfile.REGTYPE, 0o644, len(text)), io.BytesIO(text.encode()))
        for name, target in links(python):
            info = entry(name, tarfile.SYMTYPE, 0o777)
            info.linkname = target
            archive.addfile(info)
    with open(path, "rb") as archive:
        return hashlib.file_digest(archive, "sha256").hexdigest()


def import_base(host, directory):
    """Import the image unless the engine has it with the same content already; its name."""
    archive = Path(directory) / "base.tar"
    digest = write_archive(archive)
    try:
        held = docker(host, "image", "inspect", "--format", f'{{{{index .Config.Labels "{LABEL}"}}}}', NAME, check=False)
        if held.returncode != 0 or held.stdout.strip() != digest:
            docker(host, "import", "--change", f"LABEL {LABEL}={digest}", "--change", "ENV PATH=/usr/bin:/bin", "--change", 'CMD ["/bin/sh"]', archive, NAME)
    finally:
        archive.unlink(missing_ok=True)
    return NAME


@pytest.fixture(scope="session")
def base_image(engine, tmp_path_factory):
    """Name of the base image, there in the engine."""
    return import_base(engine, tmp_path_factory.mktemp("rootfs"))
