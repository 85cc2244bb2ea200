"""``seedcorn doctor``."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING

from seedcorn.cli.invocation import Invocation
from seedcorn.cli.output import Output, shown
from seedcorn.cli.parser import Command
from seedcorn.cli.progress import PROBE, RunMonitor, watched
from seedcorn.cli.render_json import requests_fields
from seedcorn.cli.render_text import count_text, duration_text, table

if TYPE_CHECKING:
    from seedcorn.ops.doctor.doctor import DoctorResult, Finding, Latency

EXAMPLES = """
    seedcorn doctor
    seedcorn doctor -r s3://bucket/prefix    # there need be no repository yet
    seedcorn doctor --json
"""
TEXT_WIDTH = 100
TEXT_COLUMN = 32


def examine(invocation: Invocation) -> int:
    """Find out what a store guarantees, what this credential may do there, and how quickly it answers.

    Needs no passphrase. Puts some 110 small objects under doctor/ and deletes them again, if it may; touches nothing else.

    Grade A: the store enforces create-only puts and lists what is new at once. B: it keeps versions, and enforces nothing. C: neither, so
    append-only is NOT enforced.

    Exit status 1: something is broken that seedcorn depends on, such as a listing that leaves out new objects. Otherwise 0, also for grade C.
    """
    from seedcorn.events import SystemClock
    from seedcorn.jobs.host_files import has_host_file
    from seedcorn.ops.doctor.doctor import DoctorOptions, doctor

    store, output = invocation.store, invocation.output
    options = DoctorOptions(enrolled=has_host_file(store, invocation.environment, invocation.options.host_file))
    if output.as_json:  # one object and no more
        result = doctor(store, options, SystemClock(), RunMonitor(output))
    else:
        with watched(output, PROBE) as monitor:
            result = doctor(store, options, SystemClock(), monitor)
    _emit(output, invocation.place, result)
    _report(output, result)
    return result.exit_code


def _emit(output: Output, place: str, result: DoctorResult) -> None:
    output.emit(
        "doctor",
        place=place,
        grade=result.grade,
        reason=result.reason,
        append_only=result.append_only,
        enrolled=result.enrolled,
        findings=[asdict(finding) for finding in result.findings],
        latencies=[{name: round(value, 3) if name.endswith("_ms") else value for name, value in asdict(each).items()} for each in result.latencies],
        clock_offset_seconds=None if result.clock_offset_seconds is None else round(result.clock_offset_seconds, 1),
        left=result.left,
        requests=requests_fields(result.requests),
        elapsed_seconds=round(result.elapsed_ns / 1e9, 3),
        exit_code=result.exit_code,
    )


def _report(output: Output, result: DoctorResult) -> None:
    for finding in result.findings:
        for line in _finding_lines(finding):
            output.line(line)
    output.line()
    for line in table(["Latency", " Requests", " p50 ms", " p90 ms", " p99 ms", " max ms"], [_times(each) for each in result.latencies]):
        output.line(line)
    output.line()
    if result.left:
        folder = "/".join(result.left[0].split("/")[:2])
        output.line(f"{count_text(len(result.left), 'small object')} under {folder}/ could not be deleted: harmless, and nothing needs them")
    output.report(f"{count_text(result.requests.total, 'request')} in {duration_text(result.elapsed_ns / 1e9)}")
    output.line(f"Grade {result.grade}: {result.reason}")
    if result.broken:
        output.line(f"BROKEN: {', '.join(_title(finding) for finding in result.broken)}. Do not keep backups here.")


def _times(latency: Latency) -> list[str]:
    figures = latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.max_ms
    return [latency.verb, str(latency.requests), *(f"{ms:.1f}" for ms in figures)]


def _finding_lines(finding: Finding) -> list[str]:
    text = textwrap.wrap(shown(finding.seen), TEXT_WIDTH) + textwrap.wrap(f"-> {finding.advice}" if finding.advice else "", TEXT_WIDTH)
    beside = f"{_title(finding):18}{finding.outcome:12}"
    return [f"{beside if number == 0 else '':{TEXT_COLUMN - 2}}{line}" for number, line in enumerate(text)]


def _title(finding: Finding) -> str:
    return finding.check.replace("_", " ")


COMMAND = Command(examine, examples=EXAMPLES)
