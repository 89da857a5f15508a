"""Finds private content in a request or in the earlier messages of its conversation."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

from router.privacy.scanner import Finding, PrivacyScanner
from router.request import ChatRequest, outgoing
from router.sides.conversations import Marks, marks_of
from router.state.private_marks import MOST_ALARMS_EACH, PrivateMarks
from router.wire.responses.compaction import private_summary_in

log = logging.getLogger("router")


class PrivateConversations:
    """Scans requests, and remembers the conversations in which something was found."""

    def __init__(self, scanner: PrivacyScanner, marks: PrivateMarks) -> None:
        self._scanner = scanner
        self.marks = marks

    def start(self) -> None:
        """Read the files with secrets and the marks of private conversations."""
        self._scanner.start()
        self.marks.load()

    def close(self) -> None:
        """Write the remaining marks."""
        self.marks.close()

    async def read(self, request: ChatRequest) -> list[Finding]:
        """Return the findings in a request, without holding the event loop up for a large one."""
        return [*await self._scanner.read(outgoing(request)), *self._private_summaries(request)]

    def check(
        self,
        request: ChatRequest,
        messages: Marks | None = None,
        findings: Sequence[Finding] | None = None,
    ) -> Finding | None:
        """Return the finding that makes a request private: one in it, or an earlier one in its
        conversation. Its messages are marked, so that later requests stay here too.

        `messages`: its marks, and `findings`: what `read` returned, where they were made before.
        """
        if findings is None:
            findings = [*self._findings(request)]
        marks = self.marks
        if not findings and marks.is_empty:
            return None
        messages = messages or marks_of(request)
        allowed, earlier = marks.allowed(messages.all), marks.alarms(messages.all)
        if allowed:
            marks.keep_allowed(messages.own, allowed)
        first: Finding | None = None
        for finding in findings:
            if finding.id in allowed:
                continue
            alarm = marks.raise_alarm(messages.own, finding.id, finding.rule)
            if first is None:
                first = replace(finding, id=alarm.id)
                if alarm.id not in earlier:
                    log.info("private: %s; this conversation stays on this machine", first)
        for alarm_id in earlier[: MOST_ALARMS_EACH + 1]:  # one more says that there are others
            marks.mark(messages.own, alarm_id)
        if first is None and earlier:
            rule = marks.rule(earlier[0])
            first = Finding(rule, earlier[0], "an earlier message of this conversation")
        return first

    def finds_in(self, request: ChatRequest) -> bool:
        """Return whether the request itself holds something private. Marks nothing."""
        return any(True for _ in self._findings(request))

    def finds_in_text(self, text: str) -> bool:
        """Return whether a text that is to be kept or shown holds something private."""
        return any(True for _ in self._scanner.findings([("", "", text)]))

    def _findings(self, request: ChatRequest) -> Iterator[Finding]:
        yield from self._scanner.findings(outgoing(request))
        yield from self._private_summaries(request)

    def _private_summaries(self, request: ChatRequest) -> Iterator[Finding]:
        items = (request.original or {}).get("input")
        for at, item in enumerate(items if isinstance(items, list) else ()):
            if summary := private_summary_in(item):
                finding = self._scanner.finding(
                    "summary of a private conversation", summary.encode()
                )
                yield replace(finding, where=f"input[{at}]")

    def is_marked(self, request: ChatRequest) -> bool:
        """Return whether something private was found in the conversation, and was not allowed."""
        return not self.marks.is_empty and bool(self.marks.alarms(marks_of(request).all))

    def allow(self, alarm: str) -> bool:
        """Allow the finding of this alarm in its conversation; return False if there is none."""
        return self.marks.allow(alarm)
