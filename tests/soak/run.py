"""Run simulated people for some time."""

from __future__ import annotations

import collections.abc as c
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from .browser import TABS, Person
from .tabs import Tab
from .tally import Tally, Watch


def run(
    open_tab: c.Callable[[], Tab],
    watch: Watch,
    tally: Tally,
    *,
    people: int,
    seconds: float,
    seed: int,
    pause: float,
    enough: c.Callable[[], bool],
    calm_down: c.Callable[[], None],
    progress: c.Callable[[float], None] = lambda left: None,
) -> None:
    """
    :param pause: seconds between what each of them does, at most.
    :param enough: whether it can end at once, as too much is wrong.
    :param calm_down: ends what disturbs them, before it is looked at once more what
        everybody's sessions hold.
    :param progress: called again and again with the seconds that are left.
    """
    end = time.monotonic() + seconds
    over = threading.Event()

    def live(person: Person) -> None:
        while not over.is_set() and not enough():
            person.step()

    with (
        ThreadPoolExecutor(people * TABS) as sending,
        ThreadPoolExecutor(people) as pool,
    ):
        everybody = [
            Person(
                str(number),
                [open_tab() for _ in range(TABS)],
                *(sending, watch, tally, seed, pause),
            )
            for number in range(people)
        ]
        lives = [pool.submit(live, person) for person in everybody]
        try:
            while (left := end - time.monotonic()) > 0 and not enough():
                progress(left)
                for job in lives:
                    if job.done():
                        job.result()
                time.sleep(0.05)
        finally:
            over.set()
        calm_down()
        for job in lives:
            job.result()
        if not enough():
            for _ in pool.map(Person.finish, everybody):
                pass
