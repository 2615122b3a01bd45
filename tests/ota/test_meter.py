"""Every byte of a metered link is on the account: bodies, metadata, heads, TLS, and what came and was not read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from ota.app.link import Link, Weather
from ota.clock import Cancel, Clock
from ota.errors import BudgetError
from ota.ports import Request
from ota.stage import Job, Place, stage
from ota.transfer.budget import Allowance, BudgetFile
from ota.transfer.download import Means
from ota.transfer.http import HttpFetcher, Server, tls_context
from ota.transfer.metadata import MetadataFetcher
from ota.transfer.meter import RESERVE_BYTES, carried
from ota.transfer.pace import Pace, Patience
from ota.trust.client import Catalogue
from tests.ota.agent.plant import wait_for
from tests.ota.conftest import IMAGE_ONE
from tests.ota.web import Authority, Web, linked, server_context, serving
from tests.ota.world import HandClock, Memory, Publisher, client

LIMIT = 10_000_000


@dataclass
class Metered:
    """A repository behind a link that counts what it carries to the device, and the device's account."""

    link: Link
    url: str
    web: Web
    fetcher: HttpFetcher
    budget: BudgetFile
    folder: Path

    def used(self) -> int:
        return int(json.loads((self.folder / "budget.json").read_text())["used"])

    def catalogue(self, publisher: Publisher) -> Catalogue:
        metadata = MetadataFetcher(self.fetcher, Clock(), Cancel(), self.budget)
        device = client(self.folder, publisher.anchor(), HandClock())
        return device.catalogue(metadata, f"{self.url}/metadata/", "image", "rpi4")


@pytest.fixture(params=["http", "https"])
def metered(request: pytest.FixtureRequest, publisher: Publisher, tmp_path: Path) -> Iterator[Metered]:
    authority = Authority(tmp_path, "authority")
    tls = server_context(authority.issue("server", "127.0.0.1")) if request.param == "https" else None
    budget = BudgetFile(tmp_path / "budget.json", Allowance(LIMIT), HandClock())
    context = tls_context(str(authority.file), None, None)
    with serving(publisher.folder / "repo", tls=tls) as (web, _), linked(web.server_port, Weather()) as (link, url):
        fetcher = HttpFetcher(Server(context, plain=True), Clock(), Cancel(), Patience(idle_s=2, poll_s=0.05), budget)
        yield Metered(link, url.replace("http", request.param), web, fetcher, budget, tmp_path)


def test_metadata_and_heads_are_on_the_account(metered: Metered, publisher: Publisher) -> None:
    metered.catalogue(publisher)
    bodies = sum(metered.web.sent.values())
    assert bodies > 2000
    assert metered.link.carried > bodies, "heads, and the answer that there is no newer root"
    requests = len(metered.web.requests)
    assert metered.used() >= metered.link.carried + 50 * requests, "both directions"
    assert metered.used() <= metered.link.carried + 3000 * requests, "and no more than that"


def test_a_poll_that_finds_nothing_new_is_cheap(metered: Metered, publisher: Publisher) -> None:
    """What docs/ota.md says: two connections, for news and for a root that is not there."""
    device = client(metered.folder, publisher.anchor(), HandClock())

    def poll() -> int:
        before = metered.used() if (metered.folder / "budget.json").exists() else 0
        metadata = MetadataFetcher(metered.fetcher, Clock(), Cancel(), metered.budget, device.cache)
        device.catalogue(metadata, f"{metered.url}/metadata/", "image", "rpi4")
        return metered.used() - before

    first, second = poll(), poll()
    print(f"{first} bytes, then {second}")
    assert second <= (700 if metered.url.startswith("http:") else 7168) < first


def test_a_download_is_on_the_account(metered: Metered, publisher: Publisher) -> None:
    offered = metered.catalogue(publisher)
    before, carried = metered.used(), metered.link.carried
    means = Means(metered.fetcher, Clock(), Cancel(), metered.budget, Pace(0), lambda _done, _total: None)
    job = Job(offered.artefacts[0], offered, f"{metered.url}/targets", lambda _error: None)
    assert stage(job, Place(Memory(1 << 20), None, metered.folder, 1 << 24), means) == "full"
    cost = metered.used() - before
    assert metered.link.carried - carried + 50 <= cost <= metered.link.carried - carried + 3000
    assert cost > len(IMAGE_ONE)


def test_metadata_beyond_the_budget_is_not_fetched(metered: Metered, publisher: Publisher) -> None:
    metered.budget.charge(LIMIT - RESERVE_BYTES - 100)
    with pytest.raises(BudgetError, match="bytes are needed"):
        metered.catalogue(publisher)
    assert metered.budget.left() is not None
    before = metered.link.carried
    metered.budget.spend(LIMIT)
    with pytest.raises(BudgetError, match="8192 bytes are needed, 0 of"):
        metered.catalogue(publisher)
    assert metered.link.carried == before, "not even a connection"


def test_what_came_and_was_not_read_is_on_the_account(metered: Metered) -> None:
    def much(handler: BaseHTTPRequestHandler) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        handler.wfile.write(bytes(40_000))
        handler.wfile.flush()
        return True

    metered.web.odd = much
    response = metered.fetcher.open(Request(f"{metered.url}/x"))
    metered.budget.charge(10)
    assert len(response.read(10)) == 10
    link = response._wire._socket
    assert link is not None
    wait_for(lambda: carried(link) > 40_000, "the system has taken all of it")
    response.close()
    assert metered.used() > 40_000
