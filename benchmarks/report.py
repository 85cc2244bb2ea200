"""The page that people read, made of the results alone: no figure stands here, and no sentence that a figure could make false."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.main_job import MEDIA, ONE_FILE, S3, TREE
from benchmarks.markdown import table
from benchmarks.peers import OURS
from benchmarks.plots import draw
from benchmarks.results import COLD, WARM, IndexReport, Record, Results, spread
from benchmarks.runner import COMPARED, FLOOR, OVERHEAD_PERCENT
from benchmarks.targets import Outcome, outcomes

__all__ = ["render", "write_report"]

_HEAD = """\
# Benchmarks

Written by `make benchmark`; the figures are in `benchmarks/*.json` beside this page, which is made of them: change the
program, not the page.

```
make benchmark                    # all of this; root is needed once, to fetch the other programs
make benchmark SMALL=1            # a few minutes, on 300 MB of the same tree
make benchmark ROUNDS=3 TREE=/usr WORK=build/benchmark PEERS=build/peers ONLY=seedcorn,restic
make benchmark-scale              # large files, many hosts, large directories
```

`RESUME=1` goes on after the last finished round of a run that was interrupted.
"""

_METHOD = """\
## How it is measured

- All programs work on one copy of the tree at one path and see the same states of it: everybody stores the first day before the second comes.
  Who begins changes with every round. Encryption is on; repositories are directories on one disk. Before a step begins, what was written before
  is flushed.
- *Wall* is the time around the process, as a user would start it, interpreter and key derivation included. *CPU* is user and system time of it
  and all its children. *Peak* is the kernel's figure for the largest process, or the sum over all processes (shared pages once), sampled ten
  times a second, if that is more.
- *Put* is what our program counts, every object; for the others, by how much the repository grew. *Stored* is the size of all files of a
  repository.
- Warm: every file was read just before. Cold: the page cache was emptied just before.
- A floor is a program that does a part of the work and nothing else: it reads every file, hashes it by BLAKE3 and compresses it by zstd at
  level 3, on all cores; or lists and stats the tree in one process; or creates the same files, of zeros. Floors are measured in each round
  beside the programs. The first one also compresses what a program need not: content that occurs twice, or that does not compress.
- *Second day*: some files get appends, edits in place and insertions of a few hundred bytes each, some are new, some are gone, as in a real run
  of 2008.
- A restore is compared with its source by `rsync --checksum --delete --dry-run`, contents always, and all attributes that the program claims to
  keep (duplicity: no hard links, no extended attributes, no times of symbolic links); the run stops if anything differs.
- Scale: a file of 4 GB, a hundredth of it overwritten in pieces of 64 KiB; 8 hosts with nine tenths of their 333 MB in common in one repository (ours
  with `--trust-hosts`, as the others trust theirs; not duplicity, which has one repository for each host); a directory of 1,000,000 files of 20 to
  200 bytes beside one of 10,000 (without borg and duplicity, which take long). With `SMALL=1`, all a tenth or less.
- Left out, because no target depends on them and they take long: cold first backups of borg and duplicity, restores of these two to tmpfs and
  in the later rounds, cold restores.
"""


def write_report(report: Path, suites: Mapping[str, Results], index: IndexReport | None = None) -> None:
    """Write ``benchmarks.md`` and the pictures beside it."""
    figures = report / "benchmarks"
    figures.mkdir(parents=True, exist_ok=True)
    pictures = draw(suites["main"], figures) if "main" in suites else []
    page = render(suites, index, [path.relative_to(report).as_posix() for path in pictures])
    (report / "benchmarks.md").write_text(page)


def render(suites: Mapping[str, Results], index: IndexReport | None = None, pictures: Sequence[str] = ()) -> str:
    """The page as Markdown."""
    parts = [_HEAD]
    if pictures:
        parts += [f"![{Path(path).stem}]({path})\n" for path in pictures]
        parts.append("Bars are medians, whiskers the extremes of all rounds, dashed lines the floors.\n")
    parts.append("## Targets\n\n" + _targets(outcomes(suites, index.figures if index else None)))
    main, scale = suites.get("main"), suites.get("scale")
    if main is not None:
        parts += [_conditions(main), *_main_tables(main)]
    if scale is not None:
        parts += ["## Scale\n", _conditions(scale, "###"), *(f"### {section}\n\n{_steps(scale, section)}" for section in _sections(scale))]
    if index is not None:
        parts.append(f"### A very large index\n\n{index.table}\n")
    parts.append(_METHOD)
    return "\n".join(parts)


def _sections(results: Results) -> list[str]:
    return list(dict.fromkeys(record.section for record in results.records))


# ---------------------------------------------------------------------------------------------------------------- targets


def _targets(rows: Iterable[Outcome]) -> str:
    head = ["figure", "target", "ours", "the other", "ratio", "verdict", "note"]
    return table(head, [_target_cells(row) for row in rows])


def _target_cells(row: Outcome) -> list[str]:
    ratio = f"{row.ratio:.3f}" if row.ratio is not None else ""
    return [row.figure, row.target, _amount(row.ours, row.unit), _amount(row.other, row.unit), ratio, _verdict(row), row.note]


def _verdict(row: Outcome) -> str:
    if row.used is None:
        return "not measured"
    return f"met, {row.used:.2f} of what is allowed" if row.is_met else f"**missed**, {row.used:.2f} × what is allowed"


# ------------------------------------------------------------------------------------------------------------- conditions


def _conditions(results: Results, level: str = "##") -> str:
    head, machine, tree = results.head, results.head["machine"], results.head["tree"]
    day, small = head["second_day"], " (small: not what the targets are about)" if head["small"] else ""
    memory, size = machine["memory_bytes"] / 2**30, tree["bytes"] / 1e6
    lines = [
        f"{level} Conditions\n",
        f"- **Machine**: {machine['cores']} cores ({machine['processor']}), {memory:.0f} GiB, {machine['file_system']}",
        f"- **System**: Linux {machine['kernel']}, {machine['system']}, Python {machine['python']}",
        f"- **Tree**: {tree['files']:,} files, {tree['entries']:,} entries, {size:,.0f} MB{small}",
        f"- **Second day**: {day['changed_files']} files of {day['changed_bytes'] / 1e6:.0f} MB changed, {day['deleted_files']} deleted, 64 new\n",
    ]
    rows = [[name, version, head["settings"][name], _rounds(results, name)] for name, version in head["versions"].items()]
    rows[0][1] += f", commit {head['commit']}" if rows[0][0] == OURS else ""
    return "\n".join(lines) + "\n" + table(["program", "version", "settings", "rounds"], rows)


def _rounds(results: Results, program: str) -> str:
    return str(len({record.round for record in results.records if record.program == program}))


# ------------------------------------------------------------------------------------------------------------------ tables


def _main_tables(main: Results) -> list[str]:
    parts = [
        f"## The main job\n\nMedian and, in brackets, the extremes of all rounds.\n\n{_steps(main, TREE)}",
        f"### Floors\n\n{_floors(main)}",
    ]
    cold = [(step, name) for step in main.steps(TREE) for name in main.programs(TREE) if main.select(TREE, name, step, COLD)]
    if cold:
        rows = [_step_cells(main.select(TREE, name, step, COLD), [step, name]) for step, name in cold]
        parts.append(f"### From a cold cache\n\nOne round.\n\n{table(_STEP_HEAD, rows)}")
    else:
        parts.append("### From a cold cache\n\nNot measured: the page cache could not be emptied.\n")
    parts.append(_compared(main))
    if main.programs(S3):
        parts.append(f"### Over S3 (SeaweedFS on the loopback address; it shares the cores)\n\n{_requests(main)}")
    overheads = [record for section in (TREE, MEDIA) for record in main.select(section, OURS, "stats")]
    if overheads:
        parts.append(f"### What is stored beside file contents\n\n{_overheads(overheads)}")
    return parts


_STEP_HEAD = ["step", "program", "wall s", "CPU s", "peak MiB", "MB put", "MB stored"]


def _steps(results: Results, section: str) -> str:
    named = [(step, name) for step in results.steps(section) for name in results.programs(section) if name != FLOOR and step != "stats"]
    found = [(results.select(section, name, step, WARM), [step, name]) for step, name in named]
    return table(_STEP_HEAD, [_step_cells(records, names) for records, names in found if records])


def _step_cells(records: Sequence[Record], names: list[str]) -> list[str]:
    return [
        *names,
        _spread([record.wall_seconds for record in records]),
        _spread([record.cpu_seconds for record in records]),
        _spread([record.peak_bytes / 2**20 for record in records]),
        _spread([record.put_bytes / 1e6 for record in records if record.put_bytes is not None]),
        _spread([record.stored_bytes / 1e6 for record in records if record.stored_bytes is not None]),
    ]


def _floors(main: Results) -> str:
    rows = []
    for step in main.steps(TREE):
        records = main.select(TREE, FLOOR, step)
        if records:
            rows.append(
                [step, *(_spread(values) for values in zip(*((r.wall_seconds, r.cpu_seconds, r.system_seconds) for r in records), strict=True))]
            )
    return table(["floor", "wall s", "CPU s", "of it in the kernel s"], rows)


def _compared(main: Results) -> str:
    equal: dict[str, list[str]] = {}
    for record in main.records:
        if COMPARED in record.extra:
            where = record.step + (" from S3" if record.section == S3 else "")
            equal.setdefault(record.program, []).append(where)
    lines = [f"- {name}: {', '.join(dict.fromkeys(steps))}" for name, steps in equal.items()]
    return "### Restored trees equal to their source\n\n" + ("\n".join(lines) or "None has been compared.") + "\n"


def _requests(main: Results) -> str:
    rows = []
    for step in main.steps(S3):
        records = main.select(S3, OURS, step)
        made = {verb: [record.requests[verb] for record in records if record.requests] for verb in ("put", "get", "list", "head")}
        counts = ["–".join(f"{count}" for count in sorted({min(values), max(values)})) if values else "" for values in made.values()]
        put = _spread([record.put_bytes / 1e6 for record in records if record.put_bytes is not None])
        name = f"{step} ({len(records)} times)" if step == ONE_FILE else step
        rows.append([name, _spread([record.wall_seconds for record in records]), *counts, put])
    return table(["step", "wall s", "PUT", "GET", "LIST", "HEAD", "MB put"], rows)


def _overheads(records: Sequence[Record]) -> str:
    kinds = ["listing_packs", "index", "framing", "snapshots", "other"]
    rows = []
    for record in records:
        sizes = [_amount(record.extra[f"{kind}_bytes"] / 1e6, "") for kind in kinds]
        rows.append([record.section, _amount((record.stored_bytes or 0) / 1e6, ""), *sizes, f"{record.extra[OVERHEAD_PERCENT]:.2f}"])
    return table(["section", "MB stored", *(f"{kind.replace('_', ' ')} MB" for kind in kinds), "beside contents %"], rows)


def _spread(values: Iterable[float]) -> str:
    found = spread(values)
    if found is None:
        return ""
    extremes = f" ({_amount(found.low, '')}–{_amount(found.high, '')})" if found.count > 1 else ""
    return _amount(found.median, "") + extremes


def _amount(value: float | None, unit: str) -> str:
    """Three digits, or all before the point."""
    if value is None:
        return ""
    digits = 0 if value == int(value) or abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 4
    return f"{value:,.{digits}f} {unit}".rstrip()
