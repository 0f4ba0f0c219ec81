"""What a person sees of a run: bars in a terminal, plain lines in a log."""

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from jobs.scan import StageState
from jobs.worker import Report

LINE_EVERY_SECONDS = 15.0


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
        if self.console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description:<18}", markup=False),
                BarColumn(24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[text]}", markup=False),
                console=self.console,
                transient=True,
            )
            self._task = self._progress.add_task(self._stage, total=self._total, completed=self._done, text="")
            self._progress.start()

    def told(self, report: Report) -> None:
        if report.state == "working":
            self._say(f"{report.shard}: {report.done}/{report.total} {report.text}")
            return
        self._done += report.state == "done"
        if report.state == "failed":
            failed = Text.assemble((f"{self._stage} {report.shard} failed:", "red"), f" {report.text}")
            self.console.print(failed, soft_wrap=True)
        self._say("")

    def _say(self, text: str) -> None:
        if self._progress:
            self._progress.update(self._task, completed=self._done, text=text)
        elif time.monotonic() - self._last_line > LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            self.console.print(f"{self._stage:<18} {self._done}/{self._total} {text}", soft_wrap=True)

    def stage_ended(self, state: StageState) -> None:
        if self._progress:
            self._progress.stop()
            self._progress = None
        seconds = time.monotonic() - self._started
        line = Text(f"{self._stage:<18} {state.count('done')}/{len(state.shards)} done")
        if state.todo:
            line.append(", ").append(f"{len(state.todo)} failed", "red")
        self.console.print(line.append(f"  {seconds:.1f} s"), soft_wrap=True)
