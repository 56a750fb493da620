"""What a user meets at the front door: which root is taken, what a rejected call leaves, what `-q` says, and what `audit` knows of failures."""

import json

import pytest
from project import Project, diagnostics

HEAD = "provision: 1\nname: door\ntargets:\n"
GOOD = HEAD + "  a: {rule: command, shell: true, command: echo hi >o, outputs: [o]}\n"


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "p")


def test_rejected_calls_leave_nothing(project):
    project.write("provision.yaml", GOOD)
    for arguments in (["apply", "b"], ["apply", "--target", "b"], ["apply", "--exclude", "b"], ["apply", "--replace", "b"], ["apply", "--json", "b"],
                      ["apply", "--set", "x=1"], ["destroy", "b"]):
        done = project.run(*arguments, "--yes" if arguments[0] == "destroy" else "--no-input")
        assert done.code == 64, done
        assert not project.path(".provision").exists(), done
    project.write("bad.yaml", HEAD + "  a: {rule: comand}\n")
    for name, code in (("bad.yaml", 65), ("none.yaml", 66)):
        done = project.run("apply", "--yes", name)
        assert done.code == code and not project.path(".provision").exists(), done
    done = project.run("destroy", "--yes")
    assert done.code == 0 and "Nothing to destroy" in done.out and not project.path(".provision").exists(), done


def test_root_of_the_working_directory(project, tmp_path):
    """Records are those of the working directory's project; who names a manifest that lies elsewhere is told so, and how to have it otherwise."""
    project.write("provision.yaml", GOOD)
    project.applied()
    other = Project(tmp_path / "elsewhere")
    other.write("provision.yaml", GOOD.replace("name: door", "name: other"))
    done = project.run("plan", other.path("provision.yaml"))
    assert done.code == 0 and f"records are kept in {project.root}/.provision" in done.err and f"-C {other.root}" in done.err, done
    assert "records are kept" not in project.run("plan").err
    # The advice holds.
    assert other.run("-C", other.root, "apply", "--yes").code == 0 and other.path(".provision/cache.db").exists()
    done = project.run("plan", other.path("provision.yaml"))
    assert "records of its own" in done.err and f"-C {other.root}" in done.err, done
    # Below the root there is nothing to tell, and from above the manifest's own root is found.
    sub = Project(project.root / "manifests")
    sub.write("x.yaml", GOOD)
    assert "records are kept" not in project.run("plan", "manifests/x.yaml").err
    above = Project(tmp_path)
    assert above.run("plan", "elsewhere/provision.yaml").err == ""
    # A deployment that joins the records of others is told so once.
    done = project.run("apply", "manifests/x.yaml")
    assert "is new to this project" not in done.err, done
    sub.write("y.yaml", GOOD.replace("name: door", "name: fourth"))
    done = project.run("apply", "manifests/y.yaml")
    assert done.code == 0 and f"`fourth` is new to this project; its records are kept with the others, in {project.root}/.provision" in done.err, done
    assert project.run("apply", "manifests/y.yaml").err == ""
    # Neither with --json nor with -q.
    assert project.run("plan", "--json", other.path("provision.yaml")).err == ""
    assert project.run("plan", "-q", other.path("provision.yaml")).err == ""


def test_quiet(project):
    project.write("provision.yaml", GOOD)
    done = project.run("apply", "-q")
    assert done.code == 0 and done.out.count("\n") == 1 and done.out.startswith("Applied door"), done
    assert "Plan" not in done.text and "provision status" not in done.text, done
    project.edit("provision.yaml", "echo hi", "echo ho")
    done = project.run("apply", "-qq")
    assert done.code == 0 and done.text.strip() == "", done
    # What wants the user's word is shown: nobody can agree to what was not seen.
    project.write("provision.yaml", HEAD + "  b: {rule: command, command: [touch, q], outputs: [q]}\n")
    done = project.run("apply", "-q")
    assert done.code == 7 and "Plan for door" in done.out and "E0909" in done.err, done
    done = project.run("apply", "-q", "--yes")
    assert done.code == 0 and "Plan" not in done.text, done
    # A plan that was asked for is shown.
    project.edit("provision.yaml", "touch, q", "touch, ./q")
    assert "Plan for door" in project.run("plan", "-q").out
    project.write("provision.yaml", HEAD + "  h: {rule: host, commands: [surely-no-such-command]}\n  b: {rule: command, command: [touch, q], needs: [h]}\n")
    done = project.run("apply", "-q")
    assert done.code == 4 and "E0510" in done.err and "infeasible" in done.out and "Plan for" not in done.out, done


def test_renamed_output(project):
    """The plan says what goes, nobody is taken by surprise, and it goes when the new one is there."""
    project.write("provision.yaml", HEAD + "  a: {rule: command, shell: true, command: echo hi >out/old, outputs: [out/old]}\n")
    project.applied()
    text = project.read("provision.yaml").replace("out/old", "out/new")
    project.write("provision.yaml", text)
    done = project.run("plan")
    assert done.code == 0 and "removes out/old" in done.out and project.path("out/old").exists(), done
    done = project.run("apply")
    assert done.code == 7 and project.path("out/old").exists() and not project.path("out/new").exists(), done
    done = project.applied()
    assert "removed out/old" in done.err and not project.path("out/old").exists() and project.path("out/new").exists(), done
    project.nothing_to_do()
    # What was changed by hand is the user's.
    project.write("out/new", "mine")
    project.write("provision.yaml", text.replace("out/new", "out/newer"))
    assert "keeps out/new" in project.run("plan").out
    done = project.run("apply")
    assert done.code == 0 and "kept out/new: not what was recorded" in done.err and project.read("out/new") == "mine", done
    project.nothing_to_do()
    done = project.run("audit", "verify")
    assert done.code == 0, done


def test_failures_are_audited(project):
    """A target that only ever failed has no record, but it was tried, and the history says how that ended."""
    project.write("provision.yaml", HEAD + "  bad: {rule: command, shell: true, command: echo oh; exit 3}\n")
    assert project.apply().code == 1
    done = project.ok("audit")
    rows = [line.split() for line in done.out.splitlines()]
    assert any(row[:2] == ["bad", "failed"] for row in rows) and "ended with status 3" in done.out, done
    project.write("provision.yaml", GOOD + "  bad: {rule: command, shell: true, command: echo oh; exit 4}\n")
    assert project.apply("-k", "0").code == 1
    done = project.ok("audit")
    assert done.out.count("bad") == 1 and "status 4" in done.out and "status 3" not in done.out, done
    document = json.loads(project.ok("audit", "--json").out)
    assert [d["deployment"] for d in document] == ["door"]
    assert [r["target"] for r in document[0]["records"]] == ["a"] and document[0]["records"][0]["result"] == "ok"
    assert [(f["target"], f["result"]) for f in document[0]["failed"]] == [("bad", "failed")] and "status 4" in document[0]["failed"][0]["msg"]
    # Made at last, it is like any other; and what was destroyed is not missed.
    project.write("provision.yaml", GOOD + "  bad: {rule: command, command: ['true']}\n")
    project.applied()
    document = json.loads(project.ok("audit", "--json").out)
    assert [r["target"] for r in document[0]["records"]] == ["a", "bad"] and document[0]["failed"] == []
    project.ok("destroy", "--yes")
    assert "Nothing is recorded" in project.ok("audit").out


def test_log_as_json(project):
    project.write("provision.yaml", HEAD + "  a: {rule: command, shell: true, command: 'printf \"one\\ntwo\"; touch o', outputs: [o]}\n")
    project.applied()
    done = project.ok("logs", "a", "--json")
    lines = [e["line"] for e in done.events() if e["type"] == "target_log"]
    assert lines[-2:] == ["one", "two"] and done.err == "", done
    assert project.ok("logs", "a").out.endswith("one\ntwo\n")


def test_usage_hints(project):
    done = project.run("--version")
    assert done.code == 64 and "provision version" in done.err, done
    done = project.run("version", "x")
    assert done.code == 64 and "usage: provision version\n" in done.err, done
    done = project.run("plan", "--json", "--frob")
    assert done.code == 64 and done.err == "" and diagnostics(done)[0]["code"] == "E0001", done
