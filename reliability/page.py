"""The page that people read, made of the evidence alone: each figure beside the command that makes it, its conditions, and what it does not show.

A figure that was not measured is said to be missing. No figure stands here, and no sentence that a figure could make false.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.markdown import table
from reliability.evidence import Evidence

__all__ = ["render"]

_SIMULATIONS = ("simulation", "simulation_weak", "simulation_rollback", "simulation_copy", "simulation_domains", "simulation_crowd")
_RARE = ("snapshots taken back by their hosts", "packs deleted", "packs kept after all", "packs repacked", "frames written anew")

Rows = list[list[str]]
Figures = dict[str, Any]

_HEAD = """\
# Reliability

Written by `make reliability`; the figures are in `reliability/*.json` beside this page, which is made of them: change the program, not the page.

```
make reliability                       # all of this: hours
make reliability SMALL=1               # a short version
make reliability RUNS=100000           # that many simulated runs
make reliability ONLY=model,overhead   # some of it; the rest of the page stays as it was measured
```

Nothing here proves that there is no error. It says what was tried, how often, and what came of it; below each figure stands what it does not show.
"""


@dataclass(frozen=True)
class _Figure:
    """One heading of the page. ``show`` makes rows of (what, how much) out of one measurement's figures."""

    title: str
    sources: tuple[str, ...]
    show: Callable[[Figures], Rows]
    limit: str


def render(found: Mapping[str, Evidence]) -> str:
    """The page as Markdown."""
    return "\n".join([_HEAD, _summary(found), *(_section(number, figure, found) for number, figure in enumerate(_FIGURES, 1))])


def _summary(found: Mapping[str, Evidence]) -> str:
    return table(["", "figure", "measured"], [[str(number), figure.title, _verdict(figure, found)] for number, figure in enumerate(_FIGURES, 1)])


def _verdict(figure: _Figure, found: Mapping[str, Evidence]) -> str:
    measured = [found[name] for name in figure.sources if name in found]
    if not measured:
        return "**not measured**"
    failed = [evidence.name for evidence in measured if not evidence.passed]
    verdict = f"**failed**: {', '.join(failed)}" if failed else "passed"
    if any(evidence.small for evidence in measured):
        verdict += ", in the short version"
    missing = [name for name in figure.sources if name not in found]
    return f"{verdict}; **not measured**: {', '.join(missing)}" if missing else verdict


def _section(number: int, figure: _Figure, found: Mapping[str, Evidence]) -> str:
    parts = [f"## {number}. {figure.title}\n"]
    for name in figure.sources:
        evidence = found.get(name)
        if evidence is None:
            parts.append(f"**{name.replace('_', ' ')}**: not measured: its command has not been run for this page\n")
            continue
        ended = ["ended as it should", "yes" if evidence.passed else "**no**"]
        parts += [_conditions(evidence), table(["what", "how much"], [ended, *figure.show(evidence.figures)])]
    return "\n".join([*parts, f"*What this does not show*: {figure.limit}\n"])


def _conditions(evidence: Evidence) -> str:
    machine = evidence.machine
    size = "; the short version, less than what is aimed at" if evidence.small else ""
    place = f"{machine.get('cores')} cores ({machine.get('processor')}), Linux {machine.get('kernel')}, Python {machine.get('python')}"
    return f"```\n{evidence.command}\n```\n\nCommit {evidence.commit}, {evidence.date}, {evidence.seconds:,.0f} s on {place}{size}.\n"


# ----------------------------------------------------------------------------------------------------------------- figures


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _named(figures: Figures, *names: str) -> Rows:
    return [[name.replace("_", " "), _count(figures[name])] for name in names if name in figures]


def _runs(figures: Figures) -> Rows:
    rows = _named(figures, "runs", "failed", "operations", "virtual_hours", "confirmed_snapshots", "crashes")
    return [*rows, *([what, _count(figures.get("outcomes", {}).get(what, 0))] for what in _RARE)]


def _faults(figures: Figures) -> Rows:
    return [[kind, _count(count)] for kind, count in figures.get("faults", {}).items()]


def _tests(figures: Figures) -> Rows:
    return [[f"tests {name}", _count(figures[name])] for name in ("passed", "failed", "skipped")]


def _crashes(figures: Figures) -> Rows:
    counted = {test: values["crashes"] for test, values in figures["counted"].items() if "crashes" in values}
    jobs = [[test.rpartition("::test_")[2].replace("_", " "), _count(count)] for test, count in counted.items()]
    return [*_tests(figures), *jobs, ["crashes in all", _count(sum(counted.values()))]]


def _model(figures: Figures) -> Rows:
    rows = figures["rows"]
    mutants = [row for row in rows if row["kind"] == "mutant"]
    killed = sum(row["violation"] is not None for row in mutants)
    searched = [row for row in rows if row not in mutants]
    states = [[f"{row['kind']}: {row['meaning']}", f"{_count(row['states'])} states, {row['violation'] or 'no violation'}"] for row in searched]
    return [*states, ["mutants killed", f"{killed} of {len(mutants)}"]]


def _mutation(figures: Figures) -> Rows:
    """A row for each module, and their sum."""
    modules: dict[str, Figures] = figures["modules"]
    rows = [[name, _noticed(counts)] for name, counts in modules.items()]
    whole = {key: sum(counts[key] for counts in modules.values()) for key in ("mutants", "tried", "killed", "timed_out")}
    return [["changes tried in each module", _count(figures["sample"] or "all")], *rows, ["all", _noticed(whole)]]


def _noticed(counts: Figures) -> str:
    noticed, tried = counts["killed"] + counts["timed_out"], counts["tried"]
    late = f", {_count(counts['timed_out'])} of them by taking too long" if counts["timed_out"] else ""
    return f"{_count(noticed)} of {_count(tried)} noticed ({100 * noticed / max(tried, 1):.0f} %){late}; {_count(counts['mutants'])} are possible"


def _hostile(figures: Figures) -> Rows:
    rows = _tests(figures)
    rows += [[name, _outcomes(counts)] for name, counts in figures["modules"].items()]
    rows += [["mutated objects: " + name, _count(count)] for values in _counted(figures, "refused") for name, count in values.items()]
    for values in _counted(figures, "peak_bytes"):
        rows.append([f"peak memory while a bomb of {values['bomb_bytes'] >> 20} MiB is refused", f"{_count(values['peak_bytes'])} bytes"])
    return rows


def _counted(figures: Figures, name: str) -> list[dict[str, int]]:
    return [values for values in figures["counted"].values() if name in values]


def _flips(figures: Figures) -> Rows:
    """A row for each kind, of the test that flipped most."""
    most: dict[str, int] = max(figures["counted"].values(), key=lambda values: sum(values.values()), default={})
    kinds = sorted({name.partition(": ")[0] for name in most})
    outcomes = ("detected", "harmless", "missed")
    rows = [[kind, _outcomes({outcome: most.get(f"{kind}: {outcome}", 0) for outcome in outcomes})] for kind in kinds]
    return [*rows, ["all", _outcomes({outcome: sum(count for name, count in most.items() if name.endswith(outcome)) for outcome in outcomes})]]


def _outcomes(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{_count(count)} {outcome}" for outcome, count in counts.items())


def _keys(figures: Figures) -> Rows:
    return [["encryptions with AES-256-GCM", _count(figures["seals"])], ["under a key that had encrypted before", _count(figures["repeated"])]]


def _theft(figures: Figures) -> Rows:
    """The tests, and whatever they have counted."""
    counted = [(test.rpartition("::test_")[2], name, count) for test, values in figures["counted"].items() for name, count in values.items()]
    return [*_tests(figures), *([f"{test.replace('_', ' ')}: {name.replace('_', ' ')}", _count(count)] for test, name, count in counted)]


def _drill(figures: Figures) -> Rows:
    """What came of it, server by server and policy by policy."""
    rows: Rows = []
    for row in figures["rows"]:
        policy = "the policy as it is printed" if row["condition"] else "the policy without its condition"
        where = f"{row['server']}, {policy}{', versions' if row['versions'] else ''}"
        rows += [[f"{where}: {what}", how_much] for what, how_much in _spoils(row)]
    return rows


def _spoils(row: Figures) -> Rows:
    """What a thief got out of one repository, and its owner back."""

    def share(of: str, got: str, tried: str) -> list[str]:
        return [of, f"{_count(row[got])} of {_count(row[tried])}"]

    reads = {room for room in row["reads_accepted"] if row["reads_accepted"][room]}
    return [
        share("decrypted", "decrypted", "decryptions_tried"),
        ["objects that can be fetched", f"{_count(sum(row['reads_accepted'].values()))} of {_count(row['objects'])}: {', '.join(sorted(reads))}"],
        share("overwrites accepted", "overwrites_accepted", "overwrites_tried"),
        share("the same with If-None-Match", "conditional_overwrites_accepted", "conditional_overwrites_tried"),
        ["objects changed outside of what the host writes", _count(row["others_changed"])],
        share("deletions accepted", "deletes_accepted", "deletes_tried"),
        ["objects gone", _count(row["objects_gone"])],
        share("changes of the bucket accepted", "bucket_changes_accepted", "bucket_changes_tried"),
        share("snapshots that restore at once", "restored_at_once", "snapshots"),
        share("snapshots that restore once versions are back", "restored", "snapshots"),
        ["the host itself can back up", "yes" if row["backup_works"] else "no"],
    ]


def _chaos(figures: Figures) -> Rows:
    rows = [[name.replace("_", " "), _count(value)] for name, value in figures.items() if isinstance(value, int | float | str)]
    return [*rows, ["violations", _count(len(figures["violations"]))]]


def _overhead(figures: Figures) -> Rows:
    source = figures["source_bytes"]
    rows = [["backed up", f"{_count(source)} bytes"], ["stored", f"{_count(figures['stored_bytes'])} bytes in {_count(figures['objects'])} objects"]]
    rows += [[name, f"{_count(size)} bytes"] for name, size in figures["safety_bytes"].items()]
    share = sum(figures["safety_bytes"].values()) / source
    rows.append(["all of these", f"{_count(round(share * 2**30))} bytes per GiB backed up, {100 * share:.3f} %"])
    for kind in ("verified", "unverified"):
        rows.append([f"CPU of a backup, seals {kind}", " / ".join(f"{seconds:.2f}" for seconds in figures[f"cpu_seconds_{kind}"]) + " s"])
    seconds = figures["verification_cpu_seconds"]
    return [*rows, ["CPU of verification, difference of the medians", f"{seconds:.2f} s, {seconds * 2**30 / source:.2f} s per GiB"]]


_FIGURES = (
    _Figure(
        "Simulated runs",
        _SIMULATIONS,
        _runs,
        "The simulator finds what its actors, faults and invariants can express. A run is a few jobs on small trees; its store is ours, no "
        "vendor's. The actors are those of the command's commit.",
    ),
    _Figure(
        "Crash points",
        ("crash_points",),
        _crashes,
        "A crash falls between calls of the store, not within a write to the local disk. Where a row is missing for a job, its calls were not swept.",
    ),
    _Figure(
        "Injected faults",
        _SIMULATIONS,
        _faults,
        "A fault of 0 has not occurred in these runs, and nothing is known about it from here. Faults come at random; not every pair of "
        "them has met.",
    ),
    _Figure(
        "The protocol as a model",
        ("model",),
        _model,
        "The model is an abstraction, and small: a few hosts, packs and collections. That the program does what the model says is for the "
        "simulation to show.",
    ),
    _Figure(
        "Mutation score of crypto, collection and restore",
        ("mutation",),
        _mutation,
        "A sample, of one small change at a time: an operator, condition, constant or result, or a statement left out. Each module is tried by "
        "the few tests that belong to it and not by the whole suite, which may notice more. Some changes change nothing that anybody could "
        "notice, which no program can tell, so 100 % is out of reach; some stop the program at once, which any test notices. A sample with "
        "which tests were written flatters them: another seed (`--seed`) is the fairer judge. On a busy machine a run may only seem to hang. "
        "Every survivor is in the evidence, with its line. The mutants of the model above are of the protocol's rules, not of the program's lines.",
    ),
    _Figure(
        "Hostile input",
        ("hostile_input",),
        _hostile,
        "These cases were tried and no others; fuzzing of some seconds is a smoke test (`make fuzz` runs longer). A failed test would "
        "be an escape from the target folder, an exception other than an integrity error, or damage that was not found. The peak is that of "
        "Python's own allocations, without the buffers of zstd.",
    ),
    _Figure(
        "Every byte flipped",
        ("every_byte",),
        _flips,
        "One bit of each byte, one at a time, in a repository of one tiny snapshot and one record of each kind. Spaces and the case of "
        "digits in the header mean nothing, which is what harmless is here. The short version takes a sample of all bytes.",
    ),
    _Figure(
        "Repeated keys and nonces",
        ("sealing_keys",),
        _keys,
        "The processes of the tests alone are seen, not programs that they start; and not the library's own encryption inside HPKE. Tests "
        "that seal under keys of their own making are left out. In a simulated run, keys come from its seed and are compared within that "
        "run.",
    ),
    _Figure(
        "The stolen host",
        ("stolen_host",),
        _theft,
        "A thief who knows the host file and every object, and tries the secrets in every role that we could think of: no cryptanalysis. "
        "Which grades of stores were robbed is what the tests' names say. A thief can confirm whether a known file is stored in the host's "
        "own domain, and reads what is backed up later.",
    ),
    _Figure(
        "The stolen host's credential",
        ("drill",),
        _drill,
        "Two server programs that we start, and whose policies are their own: some do not know the condition of the printed policy, and then refuse "
        "every put, the host's own included. Two small hosts; what is overwritten comes back from versions only where the bucket keeps them.",
    ),
    _Figure(
        "What safety costs",
        ("overhead",),
        _overhead,
        "One made-up tree, half of which does not compress; many small files, or few changes, give other shares. A first backup, into a "
        "directory. Signatures, receipts and the parts of a snapshot come once for each backup or object, however much it holds. Chunk and "
        "pack ids in the index are not counted: deduplication needs them anyway. CPU differs between runs by more on a busy machine.",
    ),
    _Figure(
        "Hosts, collections and kills on a real server",
        ("chaos",),
        _chaos,
        "One server program on one machine, some minutes. What happens when is up to the machine's scheduler: a seed does not repeat it.",
    ),
)
