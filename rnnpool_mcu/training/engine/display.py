"""What a training shows on stderr: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


class Display:
    """Progress bar with losses and speed; a context manager."""

    def __init__(self, title: str, quiet: bool) -> None:
        self.console = Console(stderr=True, quiet=quiet)
        self._bar = Progress(
            TextColumn(title),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}"),
            console=self.console,
            disable=quiet or not self.console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=1.0, status="")

    def __enter__(self) -> Display:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, progress: float, status: str) -> None:
        """Move the bar to a share of the whole; without a terminal, print a line."""
        self._bar.update(self._task, completed=progress, status=status)
        if not self.console.is_terminal:
            self.line(f"{100 * progress:.1f} % {status}")

    def line(self, text: str) -> None:
        """A line that stays above the bar."""
        self._bar.console.print(text, highlight=False)
