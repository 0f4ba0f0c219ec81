"""What a person sees of a run: bars in a terminal, plain lines in a log."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from jobs.scan import StageState
from jobs.spans import readable
from jobs.worker import Report

LINE_EVERY_SECONDS = 15.0
SETTLED_SECONDS = 5.0


class Display:
    """Follows a run on `console`: one bar per stage and the latest word of its shards."""

    def __init__(self, console: Console):
        self.console = console
        self._progress: Progress | None = None
        self._last_line = 0.0
        self._started = 0.0

    def stage_started(self, state: StageState) -> None:
        self._stage, self._started, self._last_line = state.stage.name, time.monotonic(), time.monotonic()
        self._done, self._total = state.count("done"), len(state.shards)
        self._at_first, self._working = self._done, {}
        if self.console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description:<18}", markup=False),
                BarColumn(24),
                TextColumn("{task.fields[shards]}"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[text]}", markup=False),
                console=self.console,
                transient=True,
            )
            self._task = self._progress.add_task(
                self._stage, total=self._total, completed=self._done, shards="", text=""
            )
            self._progress.start()

    def told(self, report: Report) -> None:
        if report.state == "working":
            self._working[report.shard] = report.done / max(report.total, 1)
            self._say(f"{report.shard}: {report.done}/{report.total} {report.text}")
            return
        self._working.pop(report.shard, None)
        self._done += report.state == "done"
        if report.state == "failed":
            failed = Text.assemble((f"{self._stage} {report.shard} failed:", "red"), f" {report.text}")
            self.console.print(failed, soft_wrap=True)
        self._say("")

    def _say(self, text: str) -> None:
        made = self._done + sum(self._working.values())
        text = f"{self._left(made)}{text}"
        if self._progress:
            shards = f"{self._done}/{self._total}"
            self._progress.update(self._task, completed=made, shards=shards, text=text)
        elif time.monotonic() - self._last_line > LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            self.console.print(f"{self._stage:<18} {self._done}/{self._total} {text}", soft_wrap=True)

    def _left(self, made: float) -> str:
        """How much longer, judged by the pace so far; nothing in the first seconds, which say little."""
        elapsed, share = time.monotonic() - self._started, made - self._at_first
        if elapsed < SETTLED_SECONDS or share <= 0:
            return ""
        return f"about {readable(elapsed * (self._total - made) / share)} left; "

    def stage_ended(self, state: StageState) -> None:
        if self._progress:
            self._progress.stop()
            self._progress = None
        seconds = time.monotonic() - self._started
        line = Text(f"{self._stage:<18} {state.count('done')}/{len(state.shards)} done")
        if state.todo:
            line.append(", ").append(f"{len(state.todo)} failed", "red")
        self.console.print(line.append(f"  {seconds:.1f} s"), soft_wrap=True)
