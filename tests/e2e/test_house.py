"""What the build promises and the house keeps: hardening of the binary, libraries behind their one door, calls that are never made."""
import os
import re
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDERS = ["engine/base", "engine", "cache", "rules/client", "rules", "cli", "cli/report"]


def sources(folder, endings=(".c", ".h")):
    for name in sorted(os.listdir(f"{ROOT}/{folder}")):
        if name.endswith(endings):
            with open(f"{ROOT}/{folder}/{name}", encoding="utf-8") as file:
                yield f"{folder}/{name}", file.read()


def code(text):
    """Without comments and string literals."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    return re.sub(r'"(\\.|[^"\\\n])*"', '""', text)


def readelf(option):
    return subprocess.run(["readelf", option, os.environ["PROVISION"]], capture_output=True, text=True, check=True).stdout


def test_hardening():
    assert re.search(r"Type:\s+DYN", readelf("-hW"))
    segments = readelf("-lW")
    assert "GNU_RELRO" in segments
    assert re.search(r"GNU_STACK\s+\S+ \S+ \S+ \S+ \S+ RW ", segments)
    assert re.search(r"\bNOW\b", readelf("-dW"))


def test_a_plan_loads_no_curl():
    needed = re.findall(r"Shared library: \[([^\]]+)\]", readelf("-dW"))
    assert any(name.startswith("libsqlite3") for name in needed)
    assert not [name for name in needed if re.match(r"lib(curl|ssl|git2|nvidia)", name)]


BANNED = ["gets", "sprintf", "vsprintf", "strcpy", "strcat", "strtok", "atoi", "atol", "system", "popen", "mktemp", "tmpnam", "access", "chdir", "rand", "srand",
          "alloca", "fork", "vfork"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_banned_calls(folder):
    pattern = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
    found = [f"{path}: {match.group(1)}" for path, text in sources(folder) for match in pattern.finditer(code(text))]
    assert not found


DOORS = {
    "yaml.h": ["engine/manifest.c"],
    "curl/": ["rules/client/"],
    "openssl/": ["engine/base/digest.c"],
    "sqlite3.h": ["cache/"],
}


@pytest.mark.parametrize("header", sorted(DOORS))
def test_libraries_have_one_door(header):
    users = [path for folder in FOLDERS for path, text in sources(folder) if re.search(rf"#include <{re.escape(header)}", text)]
    assert users
    assert not [path for path in users if not path.startswith(tuple(DOORS[header]))]


LOOKS_AT = {
    "engine/base": ["engine/base"],
    "engine": ["engine", "engine/base"],
    "cache": ["cache", "engine/memory.h", "engine/record.h", "engine/base"],
    "rules/client": ["rules/client", "engine/base"],
    "rules": ["rules", "rules/client", "engine/rule.h", "engine/task.h", "engine/params.h", "engine/record.h", "engine/base"],
}


@pytest.mark.parametrize("folder", sorted(LOOKS_AT))
def test_folders_look_one_way(folder):
    wrong = []
    for path, text in sources(folder):
        for name in re.findall(r'#include "([^"]+)"', text):
            here = os.path.normpath(f"{folder}/{name}")
            target = here if os.path.exists(f"{ROOT}/{here}") else name
            if os.path.dirname(target) not in LOOKS_AT[folder] and target not in LOOKS_AT[folder]:
                wrong.append(f"{path} -> {target}")
    assert not wrong


def test_no_machine_in_the_sources():
    """Nothing in the tree knows where it was checked out."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files"], capture_output=True, text=True, check=True).stdout.split()
    found = []
    for name in listed:
        with open(f"{ROOT}/{name}", "rb") as file:
            if f"{ROOT}/".encode() in file.read():
                found.append(name)
    assert not found
