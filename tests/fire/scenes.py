"""What is struck: each scene brings the project to where the strike begins, names the command that is struck, and says how to go on and what must come of it."""

import oracle
from ground import BIG


class Unfit(Exception):
    """The scene could not be set."""


def must(run):
    if run.code != 0:
        raise Unfit(str(run))


class Scene:
    words = ("apply", "--yes", "-j", "1", "--downloads", "1")

    def set(self, ground):
        ground.renew()

    def go_on(self, ground):
        """Run the ordinary command; what it may fetch was counted before."""
        most = oracle.most_to_fetch(ground)
        ground.sent()
        done = ground.apply()
        if done.code != 0:
            raise oracle.Broken("second run fails", done)
        oracle.check_fetched(ground, most)
        oracle.check_applied(ground)


class First(Scene):
    """The first apply."""


class Edit(Scene):
    """An apply after an edit: a file is built anew, the service is swapped."""

    def set(self, ground):
        ground.renew()
        must(ground.apply())
        ground.edit("two")


class Resume(Scene):
    """An apply after one that was killed in the middle of a large file."""

    middle = None

    def set(self, ground):
        if self.middle is None:
            self.middle = find_middle(ground)
        for step in range(10):
            ground.renew()
            ground.apply(strike=("-d", ground.project, "-K", self.middle + step))
            ground.quiet_hub()
            if f"tiny/{BIG}" in oracle.resumable(ground):
                ground.sent()
                return
        raise Unfit("no part was left")


def find_middle(ground):
    """The call on a file soon after the second checkpoint of the large file."""
    ground.renew()
    must(ground.apply(strike=("-d", ground.project, "-l", ground.list)))
    lines = [line.split(" ", 3) for line in ground.list.read_text().splitlines()]
    synced = [int(number) for number, _, name, path in lines if name == "fdatasync" and path.endswith(".part") and "/model/" in path]
    return synced[1] + 10


class Destroy(Scene):
    """A destroy, and then an apply."""

    words = ("destroy", "--yes", "-j", "1")

    def set(self, ground):
        ground.renew()
        must(ground.apply())


class DestroyAgain(Destroy):
    """A destroy, and then another, and then an apply."""

    def go_on(self, ground):
        done = ground.destroy()
        if done.code != 0:
            raise oracle.Broken("second run fails", done)
        oracle.check_gone(ground)
        super().go_on(ground)


SCENES = {"first": First(), "edit": Edit(), "resume": Resume(), "destroy": Destroy(), "destroy-again": DestroyAgain()}
