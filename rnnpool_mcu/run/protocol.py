"""The report lines of a runner (`firmware/common/harness.c`, `firmware/host/host_main.c`), parsed.

    runner 1
    memory ram 262144 stack 2048 data 0 bss 8 pixels 320 output 164 arena 60000 canaries 16 free 199588
    image index 0 status 0 ticks 5000 per_tick 40 unit instructions stack_high_water 512 canaries_ok 1
    trace image 0 layer 3 rows 60 hash 0x1234abcd
    done images 1 failures 0

A fault ends the report with `fault MemManage pc 0x... address 0x... sp 0x... cfsr 0x... hfsr 0x...`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rnnpool_mcu.errors import ValidationError
from rnnpool_mcu.ir.run_result import LayerTrace, MemoryUse, RunResult

_CFSR_UNALIGNED = 1 << 24


class RunError(ValidationError):
    """A run ended in a fault, a bad status or a report that is not whole."""


@dataclass(frozen=True)
class Report:
    """A runner's report, parsed."""

    memory: MemoryUse | None
    images: tuple[Mapping[str, str], ...]
    traces: tuple[LayerTraceOfImage, ...]
    done_images: int | None
    fault: str | None
    error: str | None


@dataclass(frozen=True)
class LayerTraceOfImage:
    """A layer's trace with the index of its image."""

    image: int
    trace: LayerTrace


def parse(text: str) -> Report:
    """The report in `text`; lines of other kinds (an emulator's messages) are passed over."""
    memory: MemoryUse | None = None
    images: list[Mapping[str, str]] = []
    traces: list[LayerTraceOfImage] = []
    done: int | None = None
    fault: str | None = None
    error: str | None = None
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "memory":
            memory = MemoryUse(**{key: int(value) for key, value in _fields(rest).items()})
        elif word == "image":
            images.append(_fields(rest))
        elif word == "trace":
            traces.append(_trace(_fields(rest)))
        elif word == "done":
            done = int(_fields(rest)["images"])
        elif word == "fault":
            fault = rest
        elif word == "error":
            error = rest
    return Report(memory, tuple(images), tuple(traces), done, fault, error)


def _fields(rest: str) -> dict[str, str]:
    words = rest.split()
    return dict(zip(words[0::2], words[1::2], strict=True))


def _trace(fields: Mapping[str, str]) -> LayerTraceOfImage:
    trace = LayerTrace(int(fields["layer"]), int(fields["rows"]), int(fields["hash"], 16))
    return LayerTraceOfImage(int(fields["image"]), trace)


def result(engine: str, text: str, outputs: bytes, *, output_bytes: int, images: int) -> RunResult:
    """The `RunResult` of a finished run; RunError when it faulted, stopped early or an image failed."""
    try:
        report = parse(text)
        check(engine, report, text, images=images)
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(_broken_off(engine, text)) from error
    if len(outputs) != images * output_bytes:
        raise RunError(f"{engine}: {len(outputs)} output bytes, expected {images} x {output_bytes}")
    try:
        return _result(engine, report, outputs, output_bytes, images)
    except (ValueError, KeyError, IndexError) as error:
        raise RunError(_broken_off(engine, text)) from error


def _broken_off(engine: str, text: str) -> str:
    tail = "\n".join(text.splitlines()[-10:])
    return f"{engine}: a line of the report is not whole, the firmware died while it printed:\n{tail}"


def _result(engine: str, report: Report, outputs: bytes, output_bytes: int, images: int) -> RunResult:
    units = {image.get("unit") for image in report.images}
    counts = tuple(_count(image) for image in report.images) if units & {"instructions", "cycles"} else ()
    counted = units == {"instructions"}
    timed = units == {"cycles"} and all(counts)  # where no counter runs, it stays at 0
    marks = [int(image["stack_high_water"]) for image in report.images if "stack_high_water" in image]
    traces: list[list[LayerTrace]] = [[] for _ in range(images)]
    for traced in report.traces:
        traces[traced.image].append(traced.trace)
    return RunResult(
        engine=engine,
        outputs=tuple(outputs[i * output_bytes : (i + 1) * output_bytes] for i in range(images)),
        statuses=tuple(int(image["status"]) for image in report.images),
        canaries_ok=all(image["canaries_ok"] == "1" for image in report.images),
        instructions=counts if counted else None,
        instruction_resolution=int(report.images[0]["per_tick"]) if counted else 1,
        cycles=counts if timed else None,
        stack_high_water_bytes=max(marks) if marks else None,
        memory=report.memory,
        traces=tuple(tuple(rows) for rows in traces) if report.traces else (),
    )


def _count(image: Mapping[str, str]) -> int:
    return int(image["ticks"]) * int(image["per_tick"])


def check(engine: str, report: Report, text: str, *, images: int) -> None:
    """RunError unless every one of `images` images ran, with status 0 and whole canaries."""
    if report.fault is not None:
        fault = describe_fault(report.fault)
        raise RunError(f"{engine}: image {len(report.images)} ended in a fault: {fault}")
    if report.error is not None:
        raise RunError(f"{engine}: {report.error}")
    for image in report.images:
        if image["status"] != "0":
            raise RunError(f"{engine}: image {image['index']}: the model returned status {image['status']}")
        if image["canaries_ok"] != "1":
            raise RunError(f"{engine}: image {image['index']}: a write outside the arena (canary gone)")
    if report.done_images != images or len(report.images) != images:
        tail = "\n".join(text.splitlines()[-10:])
        raise RunError(f"{engine}: {len(report.images)} of {images} images ran; the report ends:\n{tail}")


def describe_fault(fault: str) -> str:
    """One fault line in words: what was accessed, and what that usually means."""
    kind, _, rest = fault.partition(" ")
    fields = _fields(rest)
    where = f"at {fields['pc']}" if "pc" in fields else "(program counter lost with the stack)"
    address = f", access to {fields['address']}" if "address" in fields else ""
    text = f"{kind} {where}{address}, stack pointer {fields.get('sp', 'unknown')}, CFSR {fields.get('cfsr')}"
    if "stacking_failed" in fields:
        text += "; the stack overflowed: give it more with STACK_BYTES"
    elif kind == "UsageFault" and int(fields.get("cfsr", "0"), 16) & _CFSR_UNALIGNED:
        text += "; an LDRD, STRD, LDM or STM whose address is no multiple of 4"
    elif kind == "MemManage":
        text += "; an access outside the RAM budget, the code and the peripherals in use"
    return text
