"""``penstock graph``: the graph of a site as text and as SVG. Pure; the same plan gives the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from gateway.config.site import Policy
from gateway.graph import Plan, ReadPlan, StagePlan

BOX_WIDTH, BOX_HEIGHT = 168, 56
COLUMN, ROW, MARGIN = 248, 84, 24
LINE_HEIGHT = 16
DIP = 44  # how far below its boxes the line of commands reaches
COMMANDS = "commands"
TEXT_MAX = 22  # characters of 12 px that fit into a box
STYLE = (
    "text{font:12px sans-serif;fill:#1b1f24}.name{font-weight:600}.note{fill:#57606a;font-size:11px}"
    "rect{fill:#f6f8fa;stroke:#57606a}.driver{fill:#ddf4ff}.format{fill:#fff8c5}.port,.link{fill:#ffffff}"
    "path{fill:none;stroke:#57606a;stroke-width:1.5}.drop{stroke-dasharray:5 4}"
    ".command{stroke:#bc4c00;stroke-dasharray:5 4}"
)


@dataclass(frozen=True, slots=True)
class Node:
    """A box: a port, a stage or a link. ``column``: how far from the field, ``notes``: lines below the name."""

    key: str
    name: str
    kind: str
    notes: tuple[str, ...]
    column: int


@dataclass(frozen=True, slots=True)
class Edge:
    """A connection of two boxes. ``schema`` is empty between port and driver, whose bytes are no records; commands go
    back, against the direction of all others."""

    source: str
    target: str
    schema: str
    policy: Policy | None


def nodes(plan: Plan) -> list[Node]:
    """Ports, then stages in topological order, then links."""
    columns: dict[str, int] = {}
    for stage in plan.stages:
        columns[stage.name] = 1 + max((columns[end.ring] for end in stage.inputs), default=0)
    last = 1 + max(columns.values(), default=0)
    ports = [Node(f"port {one.port.name}", one.port.name, "port", (one.port.kind,), 0) for one in plan.ports]
    stages = [
        Node(f"stage {one.name}", one.name, one.manifest.kind, (_plugin(one),), columns[one.name])
        for one in plan.stages
    ]
    links = [
        Node(f"link {one.link.name}", one.link.name, "link", (f"mqtt {one.link.host}",), last) for one in plan.links
    ]
    return [*ports, *stages, *links]


def edges(plan: Plan) -> list[Edge]:
    """Everything that is connected, in the order of ``nodes``."""
    schemas = {one.name: one.manifest.output for one in plan.stages}
    found = [Edge(f"port {port}", f"stage {one.name}", "", None) for one in plan.stages for port in one.ports]
    for stage in plan.stages:
        found += _reads(f"stage {stage.name}", stage.inputs, schemas)
        found += [
            Edge(f"stage {end.ring.removesuffix('.commands')}", f"stage {stage.name}", COMMANDS, end.policy)
            for end in stage.commands
        ]
    for link in plan.links:
        found += _reads(f"link {link.link.name}", link.inputs, schemas)
    return found


def _reads(target: str, ends: Iterable[ReadPlan], schemas: Mapping[str, str]) -> list[Edge]:
    return [Edge(f"stage {end.ring}", target, schemas[end.ring], end.policy) for end in ends]


def _plugin(stage: StagePlan) -> str:
    return f"{stage.manifest.name} {stage.manifest.version}"


# ---- text ----


def text(plan: Plan) -> str:
    """One block per box: what it is, and below it what reads from it and how."""
    lines = [plan.site]
    outgoing = edges(plan)
    boxes = nodes(plan)
    width = max((len(box.key) for box in boxes), default=0)
    for box in boxes:
        lines.append(f"{box.key:<{width}}  {' '.join(box.notes)}")
        lines += [f"  {_arrow(edge)} {edge.target}" for edge in outgoing if edge.source == box.key]
    return "".join(f"{line}\n" for line in lines)


def _arrow(edge: Edge) -> str:
    if edge.policy is None:
        return "─ bytes ─►"
    return f"═ {edge.schema}, {edge.policy} ═►"


# ---- SVG ----


def svg(plan: Plan) -> str:
    """A picture, left to right; readers that may drop records have dashed lines, commands go back below the boxes."""
    boxes, lines = nodes(plan), edges(plan)
    places = _places(boxes, lines)
    columns = 1 + max((box.column for box in boxes), default=0)
    height = max((y for _, y in places.values()), default=0) + BOX_HEIGHT + MARGIN
    height += DIP - MARGIN if any(edge.schema == COMMANDS for edge in lines) else 0
    width = columns * COLUMN - (COLUMN - BOX_WIDTH) + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f"<title>{escape(plan.site)}</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" style="fill:#57606a;stroke:none"/></marker></defs>',
        *(_line(edge, places) for edge in lines),
        *(_box(box, places[box.key]) for box in boxes),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _places(boxes: Sequence[Node], lines: Sequence[Edge]) -> dict[str, tuple[int, int]]:
    """Top left corners: each column in the order of where its inputs are, so that few lines cross."""
    places: dict[str, tuple[int, int]] = {}
    for column in sorted({box.column for box in boxes}):
        here = [box.key for box in boxes if box.column == column]

        def middle(key: str) -> float:
            before = [edge.source for edge in lines if edge.target == key and edge.schema != COMMANDS]
            ys = [places[source][1] for source in before if source in places]
            return sum(ys) / len(ys) if ys else float(MARGIN)

        free = MARGIN
        for key in sorted(here, key=middle):
            y = max(free, round(middle(key)))
            places[key] = (MARGIN + column * COLUMN, y)
            free = y + ROW
    return places


def _box(box: Node, place: tuple[int, int]) -> str:
    x, y = place
    rows = [f'<text class="name" x="{x + 10}" y="{y + 22}">{_fit(box.name)}</text>']
    note = " ".join(box.notes)
    rows.append(f'<text class="note" x="{x + 10}" y="{y + 22 + LINE_HEIGHT + 4}">{_fit(note)}</text>')
    corner = 4 if box.kind not in ("port", "link") else BOX_HEIGHT // 2 - 10
    return (
        f'<g><title>{escape(box.key)}: {escape(note)}</title><rect class="{box.kind}" x="{x}" y="{y}" '
        f'width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="{corner}"/>{"".join(rows)}</g>'
    )


def _fit(text: str) -> str:
    return escape(text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…")


def _line(edge: Edge, places: Mapping[str, tuple[int, int]]) -> str:
    source, target = places[edge.source], places[edge.target]
    style = ' class="drop"' if edge.policy == "drop-oldest" else ""
    curve = _forth(source, target)
    if edge.schema == COMMANDS:
        style, curve = ' class="command"', _back(source, target)
    note = escape(f"{edge.source} to {edge.target}: {_arrow(edge)}")
    return f'<g><title>{note}</title><path{style} {curve} marker-end="url(#tip)"/></g>'


def _forth(source: tuple[int, int], target: tuple[int, int]) -> str:
    """From the right side of a box to the left side of another one."""
    (x1, y1), (x2, y2) = source, target
    x1, y1, y2 = x1 + BOX_WIDTH, y1 + BOX_HEIGHT // 2, y2 + BOX_HEIGHT // 2
    bend = (x2 - x1) // 2
    return f'd="M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"'


def _back(source: tuple[int, int], target: tuple[int, int]) -> str:
    """From the lower side of a box to the lower side of another one."""
    (x1, y1), (x2, y2) = source, target
    x1, y1, x2, y2 = x1 + BOX_WIDTH // 2, y1 + BOX_HEIGHT, x2 + BOX_WIDTH // 2, y2 + BOX_HEIGHT
    low = max(y1, y2) + DIP
    return f'd="M{x1} {y1}C{x1} {low} {x2} {low} {x2} {y2}"'
