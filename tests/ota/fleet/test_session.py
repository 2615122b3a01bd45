"""A device and its fleet server, by the protocol: assignments, results, cancelling, confirming."""

from __future__ import annotations

import pytest

from ota.errors import TransferError
from ota.fleet.messages import Poll, decode
from tests.ota.fleet.ddi_server import BASE, CANCELLED, CLOSED, OPEN, Action, DdiServer
from tests.ota.fleet.device import FleetDevice

NEW = "ab" * 32


def plant(behaviour: str = "healthy") -> tuple[DdiServer, FleetDevice]:
    server = DdiServer()
    return server, FleetDevice("gw-1", server.port("gw-1"), behaviour)


def executions(action: Action) -> list[tuple[str, str]]:
    return [(one["execution"], one["result"]["finished"]) for one in action.feedbacks]


def test_first_poll_introduces_the_device() -> None:
    server, device = plant()
    answer = device.session().poll()
    assert answer.offer is None
    assert answer.sleep_s == 20
    assert server.targets["gw-1"].attributes == {"version": "00000000"}


def test_an_update_from_assignment_to_success() -> None:
    server, device = plant()
    action = server.assign("gw-1", Action(7, NEW))
    session = device.session()
    offer = session.poll().offer
    assert offer is not None
    assert (offer.action, offer.version, offer.artifact.sha256, offer.installs) == ("7", "2.0.0", NEW, True)
    session.progress(40, "downloading")
    device.install(NEW)
    device.session().poll()
    assert action.state == CLOSED
    assert executions(action) == [("proceeding", "none"), ("download", "none"), ("closed", "success")]
    assert action.feedbacks[1]["result"]["progress"] == {"cnt": 40, "of": 100}


def test_a_rollback_is_reported_with_its_reason_and_not_repeated() -> None:
    server, device = plant("sick")
    action = server.assign("gw-1", Action(7, NEW))
    assert device.session().poll().offer is not None
    device.install(NEW)
    assert device.session().poll().offer is None
    assert action.finished == "failure"
    assert action.feedbacks[-1]["details"] == ["polls are late"]
    again = server.assign("gw-1", Action(8, NEW))
    assert device.session().poll().offer is None
    assert again.finished == "failure"
    assert device.installs == [NEW]


def test_what_runs_already_is_a_success_at_once() -> None:
    server, device = plant()
    device.current = NEW
    action = server.assign("gw-1", Action(7, NEW))
    assert device.session().poll().offer is None
    assert action.finished == "success"


@pytest.mark.parametrize("handling", ["forced", "attempt"])
@pytest.mark.parametrize("window", ["", "available", "unavailable"])
@pytest.mark.parametrize("only_download", [False, True])
def test_when_the_server_wants_it(handling: str, window: str, only_download: bool) -> None:
    server, device = plant()
    server.assign("gw-1", Action(7, NEW, handling=handling, window=window, only_download=only_download))
    offer = device.session().poll().offer
    assert offer is not None
    assert offer.installs == (window != "unavailable" and not only_download)


def test_a_closed_window_is_believed_whatever_else_is_said() -> None:
    """Some servers send "update": "forced" all the same."""
    server, device = plant()
    action = server.assign("gw-1", Action(7, NEW, window="unavailable"))
    plan = action.plan() | {"update": "forced"}
    action.plan = lambda: plan  # type: ignore[method-assign]
    offer = device.session().poll().offer
    assert offer is not None
    assert not offer.installs


def test_what_is_to_be_skipped_is_not_even_fetched() -> None:
    server, device = plant()
    server.assign("gw-1", Action(7, NEW, handling="skip"))
    assert device.session().poll().offer is None


def test_a_window_that_opens_after_the_download() -> None:
    server, device = plant()
    action = server.assign("gw-1", Action(7, NEW, window="unavailable"))
    session = device.session()
    session.poll()
    session.fetched()
    for _ in range(3):
        assert device.session().poll().offer is None, "it is told, and waits"
    assert executions(action) == [("proceeding", "none"), ("downloaded", "none")]
    action.window = "available"
    offer = device.session().poll().offer
    assert offer is not None
    assert offer.installs
    device.install(NEW)
    device.session().poll()
    assert (action.state, action.finished, server.violations) == (CLOSED, "success", [])


def test_a_download_is_all_that_was_wanted() -> None:
    """The server closes it. If the operator installs it later, that is told, too."""
    server, device = plant()
    action = server.assign("gw-1", Action(7, NEW, only_download=True))
    session = device.session()
    session.poll()
    session.fetched()
    device.session().poll()
    assert action.state == CLOSED
    assert device.session().poll().offer is None
    device.install(NEW)
    device.session().poll()
    assert executions(action) == [("proceeding", "none"), ("downloaded", "none"), ("closed", "success")]
    assert server.violations == []


@pytest.mark.parametrize("after", [False, True])
def test_a_download_is_told_until_it_is_heard(after: bool) -> None:
    server, device = plant()
    action = server.assign("gw-1", Action(7, NEW, only_download=True))
    session = device.session()
    session.poll()
    session.fetched()

    def deaf(_device: str, method: str, _path: str, done: bool) -> None:
        if method == "POST" and done == after:
            raise TransferError("network", "down", retry=True)

    server._fault = deaf
    for _ in range(2):
        with pytest.raises(TransferError):
            device.session().poll()
    server._fault = lambda *_: None
    assert device.session().poll().offer is None
    assert action.state == CLOSED
    assert server.violations == []


def test_cancelling_before_the_restart() -> None:
    server, device = plant()
    action = server.assign("gw-1", Action(7, NEW))
    session = device.session()
    assert session.poll().offer is not None
    action.cancelling = True
    assert session.poll().cancel
    assert action.state == CANCELLED
    assert session.poll().offer is None


def test_cancelling_too_late_is_rejected() -> None:
    server, device = plant()
    action = server.assign("gw-1", Action(7, NEW))
    session = device.session()
    session.poll()
    device.armed = True
    action.cancelling = True
    assert not session.poll().cancel
    assert action.state == OPEN
    assert executions(action)[-1] == ("rejected", "none")


def test_cancelling_what_was_never_begun() -> None:
    server, device = plant()
    action = server.assign("gw-1", Action(7, NEW, cancelling=True))
    assert not device.session().poll().cancel
    assert action.state == CANCELLED


@pytest.mark.parametrize(("answer", "state"), [(True, OPEN), (False, CANCELLED), (None, OPEN)])
def test_confirmation(answer: bool | None, state: str) -> None:
    server, device = plant()
    action = server.assign("gw-1", Action(7, NEW, needs_confirmation=True))
    device.confirms = answer
    session = device.session()
    assert session.poll().offer is None
    assert action.state == state
    assert action.needs_confirmation == (answer is None)
    assert (session.poll().offer is not None) == (answer is True)


def test_result_is_told_until_it_is_heard() -> None:
    server, device = plant()
    action = server.assign("gw-1", Action(7, NEW))
    device.session().poll()
    device.install(NEW)

    def deaf(_device: str, method: str, _path: str, after: bool) -> None:
        if method == "POST" and not after:
            raise TransferError("network", "down", retry=True)

    server._fault = deaf
    for _ in range(3):
        with pytest.raises(TransferError):
            device.session().poll()
    server._fault = lambda *_: None
    device.session().poll()
    assert action.finished == "success"
    assert device.installs == [NEW]


def test_result_is_told_again_when_only_the_answer_was_lost() -> None:
    server, device = plant()
    action = server.assign("gw-1", Action(7, NEW))
    device.session().poll()
    device.install(NEW)

    def mute(_device: str, method: str, path: str, after: bool) -> None:
        if method == "POST" and path.endswith("feedback") and after:
            raise TransferError("network", "down", retry=True)

    server._fault = mute
    with pytest.raises(TransferError):
        device.session().poll()
    server._fault = lambda *_: None
    device.session().poll()
    assert executions(action)[1:] == [("closed", "success")] * 2
    assert server.violations == []


def test_an_action_the_server_has_forgotten_is_over() -> None:
    server, device = plant()
    server.assign("gw-1", Action(7, NEW))
    device.session().poll()
    device.install(NEW)
    server.targets["gw-1"].actions.clear()
    session = device.session()
    session.poll()
    assert session.record.action == ""


def test_a_wrong_belief_of_the_server_is_corrected() -> None:
    server, device = plant()
    old = server.assign("gw-1", Action(3, "cd" * 32, state=CLOSED, finished="success"))
    target = server.targets["gw-1"]
    target.installed, target.wants_attributes = old, False
    device.session().poll()
    assert target.attributes == {"version": "00000000"}


def test_what_is_not_trusted_is_refused_with_its_name() -> None:
    server, device = plant()
    action = server.assign("gw-1", Action(7, ""))
    session = device.session()
    assert session.poll().offer is None
    session.poll()
    assert action.finished == "failure"
    assert "system-0.ext4 is no artefact that this device trusts" in action.feedbacks[-1]["details"][0]


@pytest.mark.parametrize("artifacts", [0, 2])
def test_not_exactly_one_artifact_is_a_failure_that_says_so(artifacts: int) -> None:
    server, device = plant()
    action = server.assign("gw-1", Action(7, NEW, artifacts=artifacts))
    session = device.session()
    assert session.poll().offer is None
    session.poll()
    assert action.finished == "failure"
    assert f"{artifacts} artifacts" in action.feedbacks[-1]["details"][0]


@pytest.mark.parametrize(
    ("sleep", "seconds"), [("00:05:00", 300), ("00:00:01", 5), ("99:00:00", 86_400), ("soon", 300)]
)
def test_poll_interval_is_the_servers_within_reason(sleep: str, seconds: float) -> None:
    data = f'{{"config": {{"polling": {{"sleep": "{sleep}"}}}}, "unknown": [1]}}'.encode()
    assert decode(data, Poll, "poll").sleep_s == seconds


@pytest.mark.parametrize("data", [b"", b"[]", b'{"_links": {"deploymentBase": {}}}', b"\xff", b"{" * 1000])
def test_messages_that_make_no_sense_are_named(data: bytes) -> None:
    with pytest.raises(TransferError, match="poll"):
        decode(data, Poll, "poll")


def test_damaged_record_is_no_reason_to_stop() -> None:
    server, device = plant()
    device.files["fleet.json"] = b"{broken"
    server.assign("gw-1", Action(7, NEW))
    assert device.session().poll().offer is not None
    assert BASE in device.session().record.url
