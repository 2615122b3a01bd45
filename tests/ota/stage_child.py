"""A process that stages an image and may be killed at any time: ``stage_child.py URL FOLDER SLOT_BYTES``.

``FOLDER`` holds trust/, old and what the process leaves; each checkpoint is a line of output.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ota.app.device_cli import read_anchor
from ota.clock import Cancel
from ota.stage import Job, Place, stage
from ota.storage import FileStorage
from ota.transfer.budget import Allowance, BudgetFile
from ota.transfer.download import Means
from ota.transfer.http import HttpFetcher, Server
from ota.transfer.metadata import MetadataFetcher
from ota.transfer.pace import Pace, Patience
from ota.trust.client import TrustClient
from tests.ota.fetch_child import Hurried


def main(url: str, folder: Path, room: int) -> None:
    clock, cancel, state = Hurried(), Cancel(), folder / "state"
    fetcher = HttpFetcher(Server(plain=True), clock, cancel, Patience(idle_s=0.3, poll_s=0.05))
    client = TrustClient(state, read_anchor(folder / "trust"), clock)
    offered = client.catalogue(MetadataFetcher(fetcher, clock, cancel), f"{url}/metadata/", "image", "rpi4")
    newest = max(offered.artefacts, key=lambda one: one.release.release)
    budget = BudgetFile(state / "budget.json", Allowance(), clock)
    means = Means(fetcher, clock, cancel, budget, Pace(0), lambda done, _total: print(done, flush=True))
    with FileStorage(folder / "old", write=False) as old, FileStorage(folder / "slot", room) as slot:
        job = Job(newest, offered, f"{url}/targets", lambda error: print(error, file=sys.stderr))
        print(stage(job, Place(slot, old, state, 1 << 24), means))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
