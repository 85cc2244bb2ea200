"""Who takes part in the searches.

Owns: the configurations, each in full size (minutes; the program) and reduced (seconds; the tests), and the sizes in which mutants are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.model.actors import Setting
from tests.model.rules import Mutant

__all__ = ["CONFIGURATIONS", "Configuration", "describe", "mutated"]


@dataclass(frozen=True)
class Configuration:
    """One kind of encounter. ``floor``: fewer states than this in the reduced size mean that the model has become trivial."""

    full: Setting
    reduced: Setting
    floor: int


CONFIGURATIONS = {
    "collections": Configuration(Setting(hosts=2, attempts=2, collections=2), Setting(hosts=2, collections=2), 50_000),
    "new content": Configuration(Setting(hosts=2, attempts=2, copies=0), Setting(hosts=2, copies=0), 3_000),
    "retries": Configuration(Setting(attempts=3, collections=2), Setting(attempts=2, collections=2), 9_000),
    "collectors": Configuration(Setting(hosts=2, collectors=2), Setting(attempts=2, collectors=2), 50_000),
    "duplicates": Configuration(Setting(attempts=2, collectors=2, copies=2), Setting(collectors=2, copies=2), 10_000),
    "kept duplicates": Configuration(Setting(attempts=2, collectors=2, copies=2, kept=True), Setting(collectors=2, copies=2, kept=True), 8_000),
    "expiry": Configuration(Setting(attempts=2, collectors=2, expiry=True), Setting(collectors=2, expiry=True, checkpoints=True), 20_000),
    "expiry and retries": Configuration(
        Setting(attempts=2, collections=3, expiry=True, checkpoints=True), Setting(attempts=2, collections=2, expiry=True), 20_000
    ),
    "marks": Configuration(Setting(attempts=2, collectors=2, marks=True), Setting(collectors=2, marks=True), 10_000),
    "repacking": Configuration(
        Setting(attempts=2, collectors=2, kept=True, repacking=True), Setting(collectors=2, kept=True, repacking=True), 15_000
    ),
    "merging": Configuration(Setting(attempts=2, collectors=2, merging=True), Setting(attempts=2, collectors=2, merging=True), 50_000),
    "undelete": Configuration(Setting(collectors=2, kept=True, operator=True), Setting(collections=2, kept=True, operator=True), 8_000),
    "relocation": Configuration(Setting(collectors=2, kept=True, young=True, relocators=1), Setting(kept=True, young=True, relocators=1), 1_500),
    "relocations": Configuration(
        Setting(hosts=0, collections=2, kept=True, young=True, contents="xy", held=2, relocators=2),
        Setting(hosts=0, kept=True, young=True, contents="xy", held=2, relocators=2),
        30_000,
    ),
    "relocation again": Configuration(
        Setting(hosts=0, collectors=2, kept=True, young=True, relocators=1, relocations=2),
        Setting(hosts=0, collections=2, kept=True, young=True, relocators=1, relocations=2),
        6_000,
    ),
    "relocation and undelete": Configuration(
        Setting(hosts=0, collectors=2, kept=True, young=True, relocators=1, operator=True),
        Setting(hosts=0, collections=2, kept=True, young=True, relocators=1, operator=True),
        15_000,
    ),
}

# The least in which each mutant is caught; variations are harmless in them.
_SMALL = {
    "small": Setting(),
    "new content": Setting(copies=0),
    "two contents": Setting(contents="xy", attempts=2, collections=2),
    "collectors": Setting(attempts=2, collectors=2),
    "duplicates": Setting(collectors=2, copies=2, kept=True),
    "expiry": Setting(expiry=True),
    "marks": Setting(collectors=2, marks=True),
    "late segment": Setting(attempts=2, copies=0),
    "undelete": Setting(hosts=0, kept=True, operator=True),
    "relocation": Setting(hosts=0, collections=2, kept=True, relocators=1),
    "relocations": Setting(hosts=0, kept=True, young=True, contents="xy", held=2, relocators=2),
    "relocation and undelete": Setting(hosts=0, collections=2, kept=True, relocators=1, operator=True),
}


def mutated(mutant: Mutant) -> Setting:
    """The setting in which to look at a mutant or a variation."""
    return replace(_SMALL[mutant.configuration], rules=mutant.rules)


def describe(setting: Setting) -> str:
    """A setting in words."""
    words = [f"{setting.hosts} host{'s' * (setting.hosts != 1)}", f"{setting.collectors} collector{'s' * (setting.collectors > 1)}"]
    words += [f"{setting.attempts} sessions each"] if setting.attempts > 1 else []
    words += [f"{setting.collections} collections each"] if setting.collections > 1 else []
    words += [f"{setting.held} old frames"] if setting.held > 1 else []
    words += [f"{setting.copies} packs with the same frame"] if setting.copies > 1 else []
    flags = ("kept", "marks", "young", "checkpoints", "expiry", "repacking", "merging")
    words += [flag for flag in flags if getattr(setting, flag)]
    words += ["forget and undelete"] if setting.operator else []
    words += [f"{setting.relocators} relocator{'s' * (setting.relocators > 1)}"] if setting.relocators else []
    words += [f"{setting.relocations} relocations each"] if setting.relocations > 1 else []
    return ", ".join(words)
