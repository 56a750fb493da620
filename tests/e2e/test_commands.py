"""The rule `command`, driven as make is: what is redone, what is left alone, what happens when a recipe fails or is interrupted."""

import os
import re
import signal

import pytest
from project import Project, assert_refused, processes

HEAD = "provision: 1\nname: recipes\ntargets:\n"

# a.txt -> a.up -> both <- b.txt. Each recipe notes that it ran.
CHAIN = HEAD + """\
  upper:
    rule: command
    shell: true
    command: echo upper >>ran; tr a-z A-Z <a.txt >a.up
    inputs: [a.txt]
    outputs: [a.up]
  both:
    rule: command
    shell: true
    command: echo both >>ran; cat a.up b.txt >both.txt
    inputs: [a.up, b.txt]
    outputs: [both.txt]
"""


def recipe(name, script, **keys):
    lines = [f"  {name}:", "    rule: command", "    shell: true", f"    command: {script!r}"]
    return "\n".join(lines + [f"    {key}: {value}" for key, value in keys.items()]) + "\n"


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "p")


@pytest.fixture
def chain(project):
    project.write("provision.yaml", CHAIN)
    project.write("a.txt", "hello\n")
    project.write("b.txt", "there\n")
    project.applied()
    assert project.read("both.txt") == "HELLO\nthere\n" and project.read("ran").split() == ["upper", "both"]
    project.write("ran", "")
    return project


def ran(project):
    words = project.read("ran").split()
    project.write("ran", "")
    return words


def test_nothing_to_do(chain):
    chain.nothing_to_do()
    chain.applied()
    assert ran(chain) == []


@pytest.mark.parametrize("name, wanted, ids", [
    ("a.txt", ["upper", "both"], {"upper": "input_changed", "both": "dependency_will_change"}),
    ("b.txt", ["both"], {"both": "input_changed"}),
])
def test_input_edited(chain, name, wanted, ids):
    chain.write(name, "other\n")
    assert {target: reasons[0] for target, reasons in chain.planned().items()} == ids
    chain.applied()
    assert ran(chain) == wanted
    chain.nothing_to_do()


def test_early_cut_off(chain):
    """Another input, the same product: what needs the product is left alone."""
    chain.write("a.txt", "HELLO\n")
    ended = chain.ended()
    assert ran(chain) == ["upper"] and ended["upper"] in ("ok", "same") and ended.get("both", "same") == "same", ended
    chain.nothing_to_do()


def test_touch_is_no_change(chain):
    os.utime(chain.path("a.txt"))
    chain.nothing_to_do()
    chain.applied()
    assert ran(chain) == []


def test_edit_that_stat_does_not_show(chain):
    """Same size, same time stamp, within one tick: only the status change time tells, and it is looked at."""
    before = chain.path("a.txt").stat()
    for word in ("jello\n", "cello\n"):
        with open(chain.path("a.txt"), "r+b") as file:
            file.write(word.encode())
        os.utime(chain.path("a.txt"), ns=(before.st_atime_ns, before.st_mtime_ns))
        assert "upper" in chain.planned(), word
        chain.applied()
        assert ran(chain) == ["upper", "both"] and chain.read("both.txt").startswith(word.upper())
    chain.nothing_to_do()


def test_edit_right_after_the_build(project):
    """Written in the tick in which it was digested: its stat data proves nothing, so it is read again."""
    project.write("provision.yaml", HEAD + recipe("copy", "cp in out; echo x >>ran", inputs="[in]", outputs="[out]"))
    for n in range(20):
        project.write("in", f"{n:04}")
        project.applied()
        assert project.read("out") == f"{n:04}"
    assert project.read("ran").count("x") == 20


@pytest.mark.parametrize("harm, id", [
    (lambda path: path.write_text("HELLO\nThere\n"), "output_differs"),
    (lambda path: path.unlink(), "output_missing"),
    (lambda path: path.write_text(""), "output_differs"),
    (lambda path: (path.unlink(), path.mkdir()), "output_differs"),
], ids=["edited", "missing", "emptied", "directory"])
def test_output_harmed(chain, harm, id):
    harm(chain.path("both.txt"))
    assert chain.planned() == {"both": [id]} or chain.planned()["both"][0] == id
    assert chain.run("audit", "verify").code == 5
    assert chain.run("status").code == 5
    if chain.path("both.txt").is_dir():
        assert chain.apply().code != 0
        chain.path("both.txt").rmdir()
    chain.applied()
    assert ran(chain)[-1] == "both" and chain.read("both.txt") == "HELLO\nthere\n"
    chain.nothing_to_do()


def test_recipe_edited(chain):
    chain.edit("provision.yaml", "cat a.up b.txt", "cat b.txt a.up")
    planned = chain.run("plan")
    assert "parameter changed: command" in planned.out and "both" in planned.out, planned
    chain.applied()
    assert ran(chain) == ["both"] and chain.read("both.txt") == "there\nHELLO\n"


def test_comment_edited(chain):
    chain.edit("provision.yaml", "  upper:\n", "  # a comment\n  upper:\n    description: in capitals\n")
    chain.nothing_to_do()


def test_why(chain):
    chain.write("a.txt", "other\n")
    why = chain.ok("why", "both")
    assert "upper" in why.out and "a.txt" in why.out and "input changed" in why.out, why


def test_target_removed_from_the_manifest(chain):
    text = chain.read("provision.yaml")
    chain.write("provision.yaml", text[: text.index("  both:")])
    assert "both" in chain.ok("plan").out
    assert chain.run("apply").code == 7 and chain.path("both.txt").exists()
    chain.applied()
    assert not chain.path("both.txt").exists() and chain.path("a.up").exists()
    chain.nothing_to_do()


def test_output_renamed(chain):
    chain.write("provision.yaml", CHAIN.replace("both.txt", "all.txt"))
    chain.applied()
    assert ran(chain) == ["both"] and chain.read("all.txt") == "HELLO\nthere\n"
    chain.nothing_to_do()


def test_destroy_leaves_what_is_not_ours(chain):
    chain.write("a.up", "edited by hand\n")
    chain.ok("destroy", "--yes")
    assert not chain.path("both.txt").exists() and chain.read("a.up") == "edited by hand\n" and chain.path("a.txt").exists()


def test_argv_is_no_shell(project):
    project.write("provision.yaml", HEAD + "  a: {rule: command, command: [touch, \"$HOME; rm -rf x\", \"*\"], outputs: [\"$HOME; rm -rf x\"]}\n")
    project.applied()
    assert project.path("$HOME; rm -rf x").exists() and project.path("*").exists()


def test_failing_command(project):
    script = "for i in $(seq 1 40); do echo line $i; done; printf 'red \\033[31m alarm\\n' >&2; exit 3"
    project.write("provision.yaml", HEAD + recipe("bad", script) + recipe("after", "touch after", needs="[bad]"))
    done = project.apply()
    assert_refused(done, 1, "E0807", "bad", "status 3", "line 40", "bad.log")
    assert "line 5\n" not in done.text and "\x1b" not in done.text and not project.path("after").exists(), done
    log = project.ok("logs", "bad")
    assert "line 1\n" in log.out and "line 40" in log.out and "\x1b" not in log.out, log
    assert "E0807" in project.run("apply", "--json").out
    assert set(project.planned()) == {"bad", "after"}


def test_missing_program(project):
    project.write("provision.yaml", HEAD + "  a: {rule: command, command: [surely-no-such-program]}\n")
    assert_refused(project.apply(), 4, "E0510", "surely-no-such-program")


def test_killed_by_a_signal(project):
    project.write("provision.yaml", HEAD + recipe("a", "kill -SEGV $$"))
    done = project.apply()
    assert_refused(done, 1, "E0807")
    assert re.search(r"SIGSEGV|signal 11|Segmentation", done.text), done


def test_output_not_made(project):
    project.write("provision.yaml", HEAD + recipe("a", "true", outputs="[out.txt]"))
    assert_refused(project.apply(), 1, "E0807", "out.txt")
    assert "a" in project.planned()


def test_input_changes_during_the_run(project):
    project.write("in", "one")
    project.write("provision.yaml", HEAD + recipe("a", "cp in out; echo two >in", inputs="[in]", outputs="[out]"))
    assert_refused(project.apply(), 1, "E0302", "in")
    assert "a" in project.planned()


def test_timeout(project):
    project.write("provision.yaml", HEAD + recipe("slow", "echo begun; sleep 1000; touch out", timeout="300ms", outputs="[out]"))
    done = project.apply("--grace", "500ms", timeout=20)
    assert_refused(done, 1, "E0808", "slow", "begun")
    assert not project.path("out").exists()


def test_timeout_of_a_stubborn_command(project):
    script = "trap '' TERM; (trap '' TERM; sleep 987654) & while :; do sleep 0.1; done"
    project.write("provision.yaml", HEAD + recipe("slow", script, timeout="200ms"))
    assert_refused(project.apply("--grace", "300ms", timeout=20), 1, "E0808")
    assert processes("987654") == []


def test_retries(project):
    project.write("provision.yaml", HEAD + recipe("flaky", "echo x >>tries; test $(wc -l <tries) -ge 3 && touch out", retries=2, outputs="[out]"))
    project.applied(timeout=90)
    assert project.read("tries").count("x") == 3
    project.nothing_to_do()


def test_retries_end(project):
    project.write("provision.yaml", HEAD + recipe("flaky", "echo x >>tries; false", retries=1))
    assert_refused(project.apply(timeout=90), 1, "E0807")
    assert project.read("tries").count("x") == 2


def test_always(project):
    project.write("provision.yaml", HEAD + recipe("a", "echo x >>ran", always="true") + recipe("b", "echo y >>ran", needs="[a]"))
    project.applied()
    project.applied()
    assert project.read("ran").split() == ["x", "y", "x"]


def test_once_per_fingerprint(project):
    project.write("provision.yaml", HEAD + recipe("a", "echo x >>ran"))
    project.applied()
    project.applied()
    project.edit("provision.yaml", "echo x", "echo  x")
    project.applied()
    assert project.read("ran").split() == ["x", "x"]


def test_glob_inputs(project):
    project.write("provision.yaml", HEAD + recipe("all", "cat src/*.txt src/*/*.txt >all", inputs="[\"src/**/*.txt\"]", outputs="[all]"))
    project.write("src/a.txt", "a")
    project.write("src/deep/b.txt", "b")
    project.applied()
    assert project.read("all") == "ab"
    project.write("src/other.md", "not matched")
    project.nothing_to_do()
    project.write("src/c.txt", "c")
    assert "all" in project.planned()
    project.applied()
    assert project.read("all") == "acb"
    project.path("src/a.txt").unlink()
    assert "src/a.txt" in project.run("plan").out
    project.applied()
    assert project.read("all") == "cb"
    project.nothing_to_do()


def test_glob_that_matches_nothing(project):
    project.write("provision.yaml", HEAD + recipe("all", "true", inputs="[\"src/*.txt\"]"))
    assert_refused(project.apply(), 66, "E0613", "src/*.txt")


def test_directory_as_input_and_output(project):
    project.write("provision.yaml", HEAD + recipe("copy", "rm -rf out; cp -r in out; echo x >>ran", inputs="[in]", outputs="[out]"))
    project.write("in/a", "1")
    project.write("in/deep/b", "2")
    project.applied()
    project.nothing_to_do()
    project.write("in/deep/c", "3")
    assert project.planned()["copy"][0] == "input_changed"
    project.applied()
    assert project.read("out/deep/c") == "3"
    project.write("out/deep/b", "harmed")
    assert project.planned()["copy"][0] == "output_differs"
    project.applied()
    assert project.read("out/deep/b") == "2" and project.read("ran").count("x") == 3
    project.nothing_to_do()


def test_depfile(project):
    """What the compiler read, by its own word, is an input from then on."""
    script = "cat main.c $(cat uses) >prog; echo \"prog: main.c $(cat uses) \\\\\\\\\" >prog.d; echo '  uses' >>prog.d; echo x >>ran"
    project.write("provision.yaml", HEAD + "  prog:\n    rule: command\n    command: [/bin/sh, build.sh]\n    inputs: [main.c, build.sh]\n    outputs: [prog]\n"
                  "    depfile: prog.d\n")
    project.write("build.sh", script.replace("\\\\\\\\", "\\\\") + "\n")
    project.write("main.c", "main ")
    project.write("a.h", "a1")
    project.write("uses", "a.h")
    project.applied()
    project.nothing_to_do()
    project.write("a.h", "a2")
    plan = project.ok("plan")
    assert "a.h" in plan.out and "input changed" in plan.out, plan
    project.applied()
    assert project.read("prog") == "main a2"
    project.nothing_to_do()
    project.path("a.h").unlink()
    project.write("b.h", "b1")
    project.write("uses", "b.h")
    project.applied()
    assert project.read("prog") == "main b1"
    project.nothing_to_do()


def test_depfile_that_is_none(project):
    project.write("provision.yaml", HEAD + recipe("prog", "touch prog", outputs="[prog]", depfile="prog.d"))
    done = project.apply()
    assert done.code == 1 and "prog.d" in done.text, done


def test_keep_going_and_jobs(project):
    recipes = "".join(recipe(f"bad{n}", "false") for n in range(3)) + recipe("good", "touch good") + recipe("after", "touch after", needs="[bad0]")
    project.write("provision.yaml", HEAD + recipes)
    done = project.apply("-k", "0", "-j", "2")
    assert done.code == 1 and done.text.count("error[E0807]") == 3, done
    assert project.path("good").exists() and not project.path("after").exists()


def test_one_failure_stops_what_has_not_begun(project):
    recipes = recipe("a", "false") + "".join(recipe(f"b{n}", f"touch b{n}") for n in range(5))
    project.write("provision.yaml", HEAD + recipes)
    done = project.apply("-j", "1")
    assert done.code == 1 and not any(project.path(f"b{n}").exists() for n in range(1, 5)), done


def test_jobs_run_side_by_side(project):
    """Two recipes that wait for each other: both must run at once."""
    wait = "touch {0}; for i in $(seq 400); do test -e {1} && exit 0; sleep 0.02; done; exit 1"
    project.write("provision.yaml", HEAD + recipe("a", wait.format("x", "y")) + recipe("b", wait.format("y", "x")))
    project.applied("-j", "2")


def test_jobs_one(project):
    script = "mkdir busy && sleep 0.05 && rmdir busy"
    project.write("provision.yaml", HEAD + "".join(recipe(f"t{n}", script) for n in range(5)))
    project.applied("-j", "1")


SELECTION = HEAD + "".join(recipe(name, f"echo {name} >>ran", needs=needs) for name, needs in (
    ("lib-a", "[]"), ("lib-b", "[]"), ("app", "[lib-a, lib-b]"), ("docs", "[lib-a]")))


@pytest.mark.parametrize("arguments, wanted", [
    (["app"], {"lib-a", "lib-b", "app"}),
    (["--target", "docs"], {"lib-a", "docs"}),
    (["--target", "lib-*"], {"lib-a", "lib-b"}),
    (["lib-?"], {"lib-a", "lib-b"}),
    (["--exclude", "app"], {"lib-a", "lib-b", "docs"}),
    (["--exclude", "lib-b"], {"lib-a", "docs"}),
    (["--exclude", "lib-*"], set()),
    ([], {"lib-a", "lib-b", "app", "docs"}),
])
def test_selection(project, arguments, wanted):
    project.write("provision.yaml", SELECTION)
    project.write("ran", "")
    assert set(project.planned("provision.yaml", *arguments)) >= wanted
    project.applied("provision.yaml", *arguments)
    assert set(project.read("ran").split()) == wanted


def test_replace(project):
    project.write("provision.yaml", SELECTION)
    project.applied()
    project.write("ran", "")
    plan = project.ok("plan", "--replace", "lib-*")
    assert plan.out.count("asked for") == 2, plan
    project.applied("--replace", "lib-*")
    assert set(project.read("ran").split()) >= {"lib-a", "lib-b"}
    project.nothing_to_do()


def test_environment_is_minimal(project):
    project.write("provision.yaml", HEAD + recipe("look", "env >out; pwd >>out; ls /proc/self/fd | wc -l >fds", env="{MINE: own}", outputs="[out]"))
    project.applied(SURPRISE="leaked", LD_PRELOAD_NOT="x", HF_TOKEN="hf_secretsecretsecretsecretsecret1234", CUDA_VISIBLE_DEVICES="7")
    lines = project.read("out").splitlines()
    names = {line.split("=")[0] for line in lines if "=" in line}
    allowed = {"PATH", "HOME", "USER", "TZ", "LANG", "MINE", "PWD", "SHLVL", "_", "OLDPWD", "no_proxy", "NO_PROXY", "XDG_RUNTIME_DIR", "DOCKER_HOST",
               "PROVISION_RUN", "PROVISION_TARGET", "PROVISION_PROJECT", "PROVISION_INSTANCE", "SPT_NOENV"}
    assert names <= allowed, names - allowed
    assert "MINE=own" in lines and "PROVISION_TARGET=look" in lines and str(project.root) in lines, lines
    # ls itself has 0, 1, 2 and the directory.
    assert int(project.read("fds")) <= 4
    assert "HF_TOKEN" not in project.read("out")


def test_workdir(project):
    project.path("sub").mkdir()
    project.write("provision.yaml", HEAD + recipe("a", "pwd >where", workdir="sub", outputs="[sub/where]"))
    project.applied()
    assert project.read("sub/where").strip() == str(project.path("sub"))


def test_value_of_another_target(project):
    project.write("provision.yaml", HEAD + "  dir: {rule: directory, path: made}\n"
                  "  a: {rule: command, command: [touch, \"${dir.path}/file\"], outputs: [\"${dir.path}/file\"]}\n")
    project.applied()
    assert project.path("made/file").exists()
    project.nothing_to_do()


# Seconds that no other run of this test sleeps for: how its processes are told from theirs.
NAP = str(123000000 + os.getpid())


def interrupted(project, number):
    script = f"echo x >>ran; test -e again && {{ touch out; exit 0; }}; sleep {NAP} & sleep {NAP}"
    project.write("provision.yaml", HEAD + recipe("first", "echo first >>ran") + recipe("slow", script, needs="[first]", outputs="[out]"))
    running = project.start("apply", "--yes")
    running.wait_for(lambda e: e["type"] == "target_start" and e["target"] == "slow")
    # The event is told before the child exists.
    while not processes(NAP):
        assert running.process.poll() is None
    running.process.send_signal(number)
    return running.end(20)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted(project, number):
    done = interrupted(project, number)
    assert done.code == -number, done
    assert processes(NAP) == []
    summary = done.events()[-1]
    assert summary["type"] == "summary" and summary["result"] == "interrupted" and summary["exit"] == 128 + number, done
    assert {e["target"]: e["result"] for e in done.events() if e["type"] == "target_end"} == {"first": "ok", "slow": "interrupted"}, done
    assert set(project.planned()) == {"slow"}
    project.write("again", "")
    project.applied()
    assert project.read("ran").split() == ["first", "x", "x"]
    project.nothing_to_do()


def test_killed(project):
    """No chance to clean up: the next run finds nothing recorded that is not so, and the lock free."""
    done = interrupted(project, signal.SIGKILL)
    assert done.code == -signal.SIGKILL
    for pid in processes(NAP):
        os.kill(pid, signal.SIGKILL)
    assert set(project.planned()) == {"slow"}
    project.write("again", "")
    project.applied()
    project.nothing_to_do()
    assert project.run("audit", "verify").code == 0


def test_output_is_not_ours(project):
    """A file that was there before is a user's work as far as anybody knows."""
    project.write("out", "precious")
    project.write("provision.yaml", HEAD + recipe("a", "echo made >out", outputs="[out]"))
    plan = project.run("plan")
    done = project.apply()
    assert project.read("out") in ("precious", "made\n")
    assert done.code in (0, 73), (plan, done)


def test_something_in_the_way_of_an_output(project):
    project.write("file", "no directory")
    project.write("provision.yaml", HEAD + recipe("a", "touch file/out", outputs="[file/out]"))
    assert_refused(project.apply(), 73, "E0906", "file")
    assert project.read("file") == "no directory"
