"""A process that downloads one file and may be killed at any time: ``fetch_child.py URL LENGTH SHA256 FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

from ota.clock import Cancel, Clock
from ota.storage import FileStorage
from ota.transfer.budget import Allowance, BudgetFile
from ota.transfer.download import Download, Means, Wanted
from ota.transfer.http import HttpFetcher, Server
from ota.transfer.pace import Pace, Patience


class Hurried(Clock):
    """Back-off without waiting: the test counts bytes, not seconds."""

    def uniform(self, _low: float, _high: float) -> float:
        return 0.0


def main(url: str, length: str, sha256: str, folder: str) -> None:
    clock, cancel, place = Hurried(), Cancel(), Path(folder)
    fetcher = HttpFetcher(Server(plain=True), clock, cancel, Patience(idle_s=0.3, poll_s=0.05))
    budget = BudgetFile(place / "budget.json", Allowance(), clock)
    means = Means(fetcher, clock, cancel, budget, Pace(0), lambda done, _total: print(done, flush=True))
    with FileStorage(place / "slot", int(length)) as storage:
        Download(Wanted(url, int(length), sha256), storage, place / "journal", means).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
