"""From a site to a plan. Mistakes have their own table in tests/gateway/app/mistakes.toml."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.config.board import load_board
from gateway.config.bus import Bus, WriteRule
from gateway.config.manifest import HEAD, Manifest, parse_manifest
from gateway.config.reader import Problems
from gateway.config.site import Site, load_site
from gateway.errors import ConfigError
from gateway.graph import LinkPlan, Plan, ReadPlan, RingPlan, make_plan, plan_stage
from gateway.record import Schema
from tests.gateway import sites


def manifests() -> dict[str, Manifest]:
    return {name: parse_manifest(text, name) for name, text in sites.MANIFESTS.items()}


def plan_of(folder: Path, site: str = sites.SITE) -> tuple[Site, Plan]:
    site_path, board_path = sites.write(folder, site)
    loaded, problems = load_site(site_path), Problems()
    plan = make_plan(loaded, load_board(board_path), manifests(), problems)
    problems.raise_any()
    return loaded, plan


def test_rings_are_the_outputs_of_stages(tmp_path: Path) -> None:
    _, plan = plan_of(tmp_path)
    assert plan.rings == (
        RingPlan("plc", 65536, Schema.SAMPLES, 1),
        RingPlan("meters", 8192, Schema.SAMPLES, 1),
        RingPlan("si", 65536, Schema.SAMPLES, 1),
        RingPlan("text", 65536, Schema.PAYLOADS, 1),
    )


def test_every_reader_of_a_ring_has_an_end(tmp_path: Path) -> None:
    more = '\n[stage.log]\nplugin = "writer"\ninputs = ["plc", "si"]\nconfig = { topic = "log" }\n[[tag]]\nname = "x"'
    site = sites.SITE.replace("\n[[tag]]", more + '\nfrom = "plc"\nfieldbus = { address = 1 }\n\n[[tag]]', 1)
    _, plan = plan_of(tmp_path, site.replace('inputs = ["text"]', 'inputs = ["text", "log"]'))
    assert {ring.name: ring.consumers_max for ring in plan.rings} == {
        "plc": 2,
        "meters": 1,
        "si": 2,
        "text": 1,
        "log": 1,
    }


def test_sources_come_first_whatever_the_order_in_the_file(tmp_path: Path) -> None:
    start, end = sites.SITE.index("[stage.plc]"), sites.SITE.index("[link.cloud]")
    stages = ["[stage." + text for text in sites.SITE[start:end].split("[stage.")[1:]]
    site = sites.SITE[:start] + "".join(reversed(stages)) + sites.SITE[end:]
    _, plan = plan_of(tmp_path, site)
    order = [stage.name for stage in plan.stages]
    assert order.index("text") == 3
    assert order.index("si") == 2


def test_tags_reach_every_stage_behind_their_source(tmp_path: Path) -> None:
    _, plan = plan_of(tmp_path)
    assert {stage.name: stage.tags for stage in plan.stages} == {
        "plc": (0,),
        "meters": (1,),
        "si": (0, 1),
        "text": (0, 1),
    }


def test_what_a_driver_may_write_is_for_the_host_too(tmp_path: Path) -> None:
    _, plan = plan_of(tmp_path, sites.SITE.replace('mode = "fast"', 'mode = "fast", writes = "1 coil 3-4"'))
    assert {stage.name: stage.bus for stage in plan.stages} == {
        "plc": Bus("tcp", (WriteRule(1, "coil", 3, 4),)),
        "meters": Bus("tcp", ()),
        "si": None,
        "text": None,
    }


def test_policies_limits_and_schemas(tmp_path: Path) -> None:
    site = sites.SITE.replace('policy = "block"', 'policy = "drop-oldest"')
    loaded, plan = plan_of(tmp_path, site)
    stages = {stage.name: stage for stage in plan.stages}
    assert stages["si"].inputs == (ReadPlan("plc", "block"), ReadPlan("meters", "drop-oldest"))
    assert plan.links == (LinkPlan(loaded.links["cloud"], (ReadPlan("text", "drop-oldest"),)),)
    assert (stages["plc"].deadline_us, stages["plc"].memory_bytes) == (10000, 65536), "what the site tightens"
    assert (stages["si"].deadline_us, stages["si"].memory_bytes) == (20000, 131072), "else the manifest's"
    assert (stages["plc"].in_schema, stages["plc"].out_schema) == (Schema.ANY, Schema.SAMPLES)
    assert (stages["text"].in_schema, stages["text"].out_schema) == (Schema.SAMPLES, Schema.PAYLOADS)


def test_configuration_blocks_hold_settings_facts_and_tags(tmp_path: Path) -> None:
    _, plan = plan_of(tmp_path)
    blocks = {stage.name: stage.config for stage in plan.stages}
    config_bytes, tag_count, tag_bytes, _ = HEAD.unpack_from(blocks["plc"])
    assert (tag_count, len(blocks["plc"])) == (1, HEAD.size + config_bytes + tag_bytes)
    assert struct.unpack_from("<IBxxxI", blocks["plc"], HEAD.size) == (500, 1, 9600), "no serial line: the default"
    assert struct.unpack_from("<IBxxxI", blocks["meters"], HEAD.size) == (1000, 0, 19200), "the line's speed"
    assert struct.unpack_from("<IH", blocks["meters"], HEAD.size + config_bytes) == (1, 8)


def test_devices_come_from_the_board(tmp_path: Path) -> None:
    _, plan = plan_of(tmp_path)
    assert [(one.port.name, one.device) for one in plan.ports] == [("plc", ""), ("bus", "/dev/ttyS1")]


ORDERS = """
[stage.watch]
plugin = "guard"
inputs = ["plc"]
"""
GUARD = (
    sites.MANIFESTS["gain"].replace('"gain"', '"guard"').replace('out = "samples"', 'out = "none"\ncommands = "out"')
)
OBEYING = sites.MANIFESTS["fieldbus"].replace('out = "samples"', 'out = "samples"\ncommands = "in"')


def commanded(folder: Path, old: str, new: str, **changed: str) -> Plan:
    """The site with a stage that gives commands; ``old`` in its text replaced."""
    site = sites.SITE.replace("\n[link.cloud]", ORDERS + "\n[link.cloud]").replace(old, new, 1)
    site_path, board_path = sites.write(folder, site)
    texts = {**sites.MANIFESTS, "guard": GUARD, "fieldbus": OBEYING, **changed}
    problems = Problems()
    found = {name: parse_manifest(text, name) for name, text in texts.items()}
    plan = make_plan(load_site(site_path), load_board(board_path), found, problems)
    problems.raise_any()
    return plan


def test_commands_lead_back_in_rings_of_their_own(tmp_path: Path) -> None:
    plan = commanded(tmp_path, 'ports = ["plc"]', 'ports = ["plc"]\ncommands = ["watch"]')
    stages = {stage.name: stage for stage in plan.stages}
    assert RingPlan("watch.commands", 16384, Schema.COMMANDS, 1) in plan.rings
    assert stages["plc"].commands == (ReadPlan("watch.commands", "drop-oldest"),)
    assert (stages["watch"].output, stages["watch"].command_output) == ("", "watch.commands")
    assert [stages["meters"].commands, stages["meters"].command_output] == [(), ""]
    unread = commanded(tmp_path, "", "")
    assert "watch.commands" not in {ring.name for ring in unread.rings}


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('ports = ["plc"]', 'ports = ["plc"]\ncommands = ["wach"]', 'is no stage of this site; did you mean "watch"'),
        (
            'ports = ["plc"]',
            'ports = ["plc"]\ncommands = ["si"]',
            'commands[0]: stage "si" gives no commands',
        ),
        ('plugin = "gain"', 'plugin = "gain"\ncommands = ["watch"]', 'allowed: none, plugin "gain" takes no commands'),
    ],
)
def test_commands_that_lead_nowhere(tmp_path: Path, old: str, new: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        commanded(tmp_path, old, new)
    assert problem in str(refused.value)


def test_a_stage_with_another_version(tmp_path: Path) -> None:
    _, plan = plan_of(tmp_path)
    stage = next(one for one in plan.stages if one.name == "plc")
    assert plan_stage(plan, "plc", stage.manifest) == stage
    with pytest.raises(ConfigError, match=r"stage.plc.ports: found 1, allowed: 2"):
        plan_stage(plan, "plc", replace(stage.manifest, ports=2))
    with pytest.raises(ConfigError, match="found 65536, allowed: at most 4096 bytes"):
        plan_stage(plan, "plc", replace(stage.manifest, limits=replace(stage.manifest.limits, memory_bytes=4096)))


# ---- commands -----------------------------------------------------------------------------------------------------

WATCH = """\
name = "watch"
version = "1.0.0"
abi = 1
kind = "etl"
summary = "tells drivers"
[capabilities]
hal = ["ring_in", "ring_out"]
[limits]
memory_bytes = 131072
deadline_us = 20000
[rings]
in = "samples"
out = "samples"
commands = "out"
[tag.limit]
type = "u16"
optional = true
doc = "d"
[tag.command]
type = "tag"
optional = true
doc = "d"
"""
DRIVER = sites.MANIFESTS["fieldbus"].replace('out = "samples"', 'out = "samples"\ncommands = "in"')
HIGH, LOW = 'high = { limit = 9, command = "tank/level" }', "watch = { limit = 1 }"


def command_site(settings: str, takers: str = 'commands = ["high"]') -> str:
    """Two stages of watch behind si; meters takes the commands of one of them, unless ``takers`` says otherwise."""
    stages = "".join(
        f'[stage.{name}]\nplugin = "watch"\ninputs = ["{source}"]\n\n'
        for name, source in (("low", "si"), ("high", "low"))
    )
    site = sites.SITE.replace("[stage.text]", f"{stages}[stage.text]").replace(
        'inputs = ["si"]\nconfig', 'inputs = ["high"]\nconfig'
    )
    site = site.replace("gain = { factor = 0.1 }", f"gain = {{ factor = 0.1 }}\n{settings}")
    return site.replace("ring = { bytes = 8192 }", f"ring = {{ bytes = 8192 }}\n{takers}")


def command_plan(folder: Path, site: str) -> tuple[Plan, list[str]]:
    site_path, board_path = sites.write(folder, site)
    known = {**manifests(), "watch": parse_manifest(WATCH, "watch"), "fieldbus": parse_manifest(DRIVER, "fieldbus")}
    problems = Problems()
    plan = make_plan(load_site(site_path), load_board(board_path), known, problems)
    return plan, [f"{one.key}: {one.message}" for one in problems.found]


def test_settings_of_a_stage_go_before_those_of_its_plugin_and_tags_become_numbers(tmp_path: Path) -> None:
    plan, problems = command_plan(tmp_path, command_site(f"{HIGH}\n{LOW}"))
    assert problems == []
    packed = {one.name: one.config for one in plan.stages}
    tag = struct.Struct("<IH2xI??6x")
    assert tag.unpack_from(packed["high"], HEAD.size) == (0, 9, 1, True, True)
    assert tag.unpack_from(packed["low"], HEAD.size) == (0, 1, 0, True, False)
    assert [(one.name, one.commands) for one in plan.stages if one.commands] == [
        ("meters", (ReadPlan("high.commands", "drop-oldest"),))
    ]


@pytest.mark.parametrize(
    ("settings", "takers", "expected"),
    [
        (
            HIGH, "",
            'tag[0].high.command: stage "meters", which "tank/level" is read by, takes no commands of stage "high"; '
            'add commands = ["high"] to it',
        ),
        (
            HIGH.replace("level", "lever"), 'commands = ["high"]',
            'tag[0] "boiler/temperature": high.command: found "tank/lever", which is no tag; did you mean '
            '"tank/level"?',
        ),
        (
            HIGH.replace("limit", "limits"), 'commands = ["high"]',
            'tag[0] "boiler/temperature": high.limits: unknown key; did you mean "limit"?',
        ),
    ],
)  # fmt: skip
def test_mistakes_about_commands(tmp_path: Path, settings: str, takers: str, expected: str) -> None:
    assert command_plan(tmp_path, command_site(settings, takers))[1] == [expected]
