"""An agent on duty: assignments of a DDI server become trials, commits, reports; over real sockets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from ota.agent.machine import power_on
from ota.app.cli import main
from ota.errors import UsageError
from tests.ota.conftest import IMAGE_TWO
from tests.ota.fleet.ddi_server import CANCELLED, CLOSED, OPEN, Action
from tests.ota.fleet.ddi_web import DdiWeb, ddi_serving
from tests.ota.fleet.post import DEVICE, Post
from tests.ota.web import Authority, server_context


@pytest.fixture
def plain(post: Post) -> Iterator[DdiWeb]:
    with ddi_serving(post.ddi) as web:
        post.configure(web.url)
        yield web


def executions(action: Action) -> list[tuple[str, str]]:
    return [(one["execution"], one["result"]["finished"]) for one in action.feedbacks]


in_plain_http = pytest.mark.usefixtures("plain")


@in_plain_http
def test_from_assignment_to_success(post: Post) -> None:
    """What no rollout offers is installed when it is assigned; the server hears of the commit, and of the version."""
    action = post.assign(7, "p-2.img")
    assert post.run(lambda: False).restarting
    assert post.ddi.targets[DEVICE].attributes["sw_version"] == "release 1"
    assert power_on(post.agent().settings) == "b"
    post.report()
    post.run(lambda: post.ddi.targets[DEVICE].attributes["sw_version"] == "v2")
    assert executions(action)[0] == ("proceeding", "none")
    assert executions(action)[-1] == ("closed", "success")
    assert post.ddi.violations == []
    assert [entry.event for entry in post.agent().history()] == ["installed", "committed"]


@in_plain_http
def test_a_rollback_is_reported_with_reason_and_log(post: Post) -> None:
    action = post.assign(7, "p-2.img")
    post.run(lambda: False)
    power_on(post.agent().settings)
    post.report("polls")
    assert post.run(lambda: False).restarting
    assert power_on(post.agent().settings) == "a"
    post.run(lambda: action.state == CLOSED)
    assert action.finished == "failure"
    details = action.feedbacks[-1]["details"]
    assert details[0] == "polls: bad"
    assert "the last words" in details[1:]
    again = post.assign(8, "p-2.img")
    post.run(lambda: again.state == CLOSED)
    assert again.finished == "failure"


@in_plain_http
def test_cancelling_ends_a_download_within_one_poll(post: Post) -> None:
    begun = threading.Event()

    def stall(handler: BaseHTTPRequestHandler) -> bool:
        if not handler.path.startswith("/targets/"):
            return False
        begun.set()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(IMAGE_TWO)))
        handler.end_headers()
        handler.wfile.flush()
        handler.rfile.read(1)  # until the device hangs up
        return True

    post.web.odd = stall
    action, polls = post.assign(7, "p-2.img"), 0

    def cancelled() -> bool:
        nonlocal polls
        if begun.is_set() and not action.cancelling and action.state == OPEN:
            action.cancelling, polls = True, post.ddi.polls
        return action.state == CANCELLED and any("is cancelled" in line for line in post.lines)

    agent = post.run(cancelled)
    assert post.ddi.polls <= polls + 2, "the one that was under way, and the one that tells"
    assert not agent.restarting
    assert agent.status()["boot"]["trial"] == ""
    post.web.odd = None
    second = post.assign(8, "p-2.img")
    assert post.run(lambda: False).restarting
    assert executions(second)[0] == ("proceeding", "none")


def asked_targets(post: Post) -> int:
    return sum(size for path, size in post.web.sent.items() if path.startswith("targets/"))


@in_plain_http
def test_a_download_before_the_maintenance_window(post: Post) -> None:
    """Fetched at once and told; installed without fetching again when the window opens, with another agent process."""
    action = post.assign(7, "p-2.img", window="unavailable")
    agent = post.run(lambda: ("downloaded", "none") in executions(action))
    assert not agent.restarting
    assert agent.status()["boot"]["trial"] == ""
    fetched = asked_targets(post)
    assert fetched > 0
    post.run(lambda: post.ddi.polls > 6)
    assert executions(action)[-1] == ("downloaded", "none")
    action.window = "available"
    assert post.run(lambda: False).restarting
    assert asked_targets(post) == fetched
    assert power_on(post.agent().settings) == "b"
    post.report()
    post.run(lambda: action.state == CLOSED)
    assert (action.finished, post.ddi.violations) == ("success", [])
    assert [entry.event for entry in post.agent().history()] == ["fetched", "installed", "committed"]


@in_plain_http
def test_only_to_be_downloaded(post: Post) -> None:
    """That ends the action; a later one of the same release installs it."""
    action = post.assign(7, "p-2.img", only_download=True)
    assert not post.run(lambda: action.state == CLOSED).restarting
    fetched = asked_targets(post)
    later = post.assign(8, "p-2.img")
    assert post.run(lambda: False).restarting
    assert asked_targets(post) == fetched
    assert executions(later)[0] == ("proceeding", "none")


@in_plain_http
def test_a_window_that_closes_during_the_download(post: Post) -> None:
    """What has begun as an installation ends as a download."""
    action = post.assign(7, "p-2.img", window="available")

    def close(handler: BaseHTTPRequestHandler) -> bool:
        if not handler.path.startswith("/targets/") or action.window == "unavailable":
            return False
        action.window = "unavailable"
        handler.send_response(200)
        handler.send_header("Content-Length", str((post.web.folder / handler.path.lstrip("/")).stat().st_size))
        handler.end_headers()
        handler.wfile.flush()
        handler.rfile.read(1)  # until the device hangs up
        return True

    post.web.odd = close
    agent = post.run(lambda: ("downloaded", "none") in executions(action))
    assert not agent.restarting
    assert (agent.status()["boot"]["trial"], post.ddi.violations) == ("", [])


@in_plain_http
def test_what_the_metadata_does_not_know_is_refused(post: Post) -> None:
    wrong = post.assign(7, "evil.img")
    post.run(lambda: wrong.state == CLOSED)
    assert wrong.feedbacks[-1]["details"] == ["evil.img is no artefact that this device trusts"]
    other = post.ddi.assign(DEVICE, Action(8, "ab" * 32, filename="p-2.img"))
    post.run(lambda: other.state == CLOSED)
    assert other.finished == "failure"


@in_plain_http
def test_an_older_release_is_refused(post: Post) -> None:
    post.anchor = post.publisher.anchor(**{"image/rpi4/penstock": 3})
    action = post.assign(7, "p-2.img")
    post.run(lambda: action.state == CLOSED)
    assert "[release-rollback]" in action.feedbacks[-1]["details"][0]


@in_plain_http
def test_a_repository_that_is_not_signed_ends_the_action_with_the_reason(post: Post) -> None:
    path = post.publisher.repository.published("timestamp")
    path.write_bytes(path.read_bytes().replace(b'"version":', b'"version" :').replace(b'"sig":"', b'"sig":"00'))
    action = post.assign(7, "p-2.img")
    post.run(lambda: action.state == CLOSED)
    assert "metadata-" in action.feedbacks[-1]["details"][0]


def test_operator_confirms(post: Post, capsys: pytest.CaptureFixture[str]) -> None:
    with ddi_serving(post.ddi) as web:
        post.configure(web.url, 'plain = true\nconfirm = "operator"')
        config = ["--config", str(post.folder / "ota.toml")]
        assert main(["confirm", *config]) == 2
        action = post.assign(7, "p-2.img", needs_confirmation=True)
        post.run(lambda: post.ddi.polls >= 2)
        assert action.needs_confirmation
        assert main(["status", *config]) == 0
        assert json.loads(capsys.readouterr().out)["confirmation"]["what"] == "p-2.img (2.0.0)"
        assert main(["confirm", *config]) == 0
        assert post.run(lambda: False).restarting
        assert not action.needs_confirmation


def test_polls_are_counted_and_go_on_without_a_budget(post: Post) -> None:
    with ddi_serving(post.ddi) as web:
        post.configure(web.url, "plain = true\n[link]\nbudget_bytes = 100")
        post.run(lambda: post.ddi.polls >= 3)
        used = json.loads((post.folder / "state/budget.json").read_text())["used"]
        assert used > 3 * 300, "requests and answers"
        action = post.assign(7, "p-2.img")
        post.run(lambda: any("bytes are needed, 0 of 100 are left" in line for line in post.lines))
        assert action.state == OPEN


@pytest.mark.parametrize("kind", ["target", "gateway"])
def test_tokens(post: Post, kind: str) -> None:
    token, scheme = post.folder / "token", {"target": "TargetToken", "gateway": "GatewayToken"}[kind]
    with ddi_serving(post.ddi, f"{scheme} secret") as web:
        post.configure(web.url, f'plain = true\n{kind}_token_file = "{token}"')
        with pytest.raises(UsageError, match=f"{kind}_token_file: must hold the token"):
            post.duty(post.agent())
        token.write_text("wrong\n")
        post.run(lambda: any("check the device's token" in line for line in post.lines))
        assert post.ddi.polls == 0
        token.write_text("secret\n")
        post.run(lambda: post.ddi.polls >= 1)


def test_client_certificates(post: Post) -> None:
    """As a proxy before hawkBit asks for them."""
    authority, other = Authority(post.folder, "authority"), Authority(post.folder, "other")
    tls = server_context(authority.issue("server", "127.0.0.1"), authority.file)
    with ddi_serving(post.ddi, tls=tls) as web:
        keys = f'ca = "{authority.file}"\ncertificate = "{{}}"'
        post.configure(web.url, keys.format(other.issue("stranger")))
        post.run(lambda: any("fleet: " in line for line in post.lines))
        assert post.ddi.polls == 0
        post.configure(web.url, keys.format(authority.issue(DEVICE)))
        post.run(lambda: post.ddi.polls >= 1)
        post.configure(web.url, f'ca = "{other.file}"\ncertificate = "{post.folder / "gw-1-cert.pem"}"')
        polls = post.ddi.polls
        post.lines.clear()
        post.run(lambda: any("certificate verify failed" in line.lower() for line in post.lines))
        assert post.ddi.polls == polls


def test_url_and_transport_must_fit(post: Post) -> None:
    post.configure("http://fleet.example", "")
    with pytest.raises(UsageError, match=r"fleet.url: found 'http://fleet.example', allowed: https"):
        post.agent()
