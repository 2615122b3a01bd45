"""A board whose image can be made: the tables that must be there for it."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.config.board import Board
from gateway.config.hardware import Boot, Image, Storage, Watchdog
from gateway.errors import UsageError


@dataclass(frozen=True, slots=True)
class Recipe:
    """``board`` and what of it is not None."""

    board: Board
    storage: Storage
    boot: Boot
    image: Image
    watchdog: Watchdog | None

    @property
    def name(self) -> str:
        """Of the board."""
        return self.board.name

    @property
    def arch(self) -> str:
        """What its programs are compiled for."""
        return self.board.head.arch

    @property
    def tty(self) -> str:
        """The console's device, without its speed."""
        return self.boot.console.partition(",")[0]


def recipe(board: Board) -> Recipe:
    """Raises UsageError for a board that no image is made for."""
    if board.image is None or board.storage is None or board.boot is None:
        raise UsageError(f"{board.file}: has no [image] table: no image is made for board {board.name}")
    return Recipe(board, board.storage, board.boot, board.image, board.watchdog)
