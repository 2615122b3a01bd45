"""Updates that somebody at the device must confirm: the question, and the answer of ``penstock-ota confirm``."""

from __future__ import annotations

import msgspec

from ota.agent.notebook import StateFiles
from ota.errors import UsageError
from ota.fleet.messages import Deployment

CONFIRMATION_NAME = "confirmation.json"
BYTES_MAX = 16 * 1024


class Question(msgspec.Struct, frozen=True):
    """An action that waits for its confirmation. ``answer``: None as long as nobody has answered."""

    action: str
    what: str
    answer: bool | None = None


class Confirmations:
    """``auto``: everything is confirmed at once."""

    def __init__(self, files: StateFiles, auto: bool) -> None:
        self._files = files
        self._auto = auto

    def ask(self, deployment: Deployment) -> bool | None:
        """The answer for the server; None: not yet."""
        if self._auto:
            return True
        question = self.open()
        if question is None or question.action != deployment.id:
            what = ", ".join(f"{artifact.filename} ({version})" for version, artifact in deployment.artifacts)
            self._save(Question(deployment.id, what))
            return None
        return question.answer

    def open(self) -> Question | None:
        """The last question; None: there was none."""
        data = self._files.load(CONFIRMATION_NAME, BYTES_MAX)
        try:
            return msgspec.json.decode(data, type=Question) if data else None
        except msgspec.DecodeError:
            return None

    def answer(self, yes: bool) -> Question:
        """Raises UsageError when nothing is asked."""
        question = self.open()
        if question is None:
            raise UsageError("nothing waits for a confirmation")
        answered = msgspec.structs.replace(question, answer=yes)
        self._save(answered)
        return answered

    def _save(self, question: Question) -> None:
        self._files.save(CONFIRMATION_NAME, msgspec.json.encode(question))
