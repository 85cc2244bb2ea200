"""Real production code on a store, clocks and randomness that a seed decides: what goes wrong once can be run again.

``scheduler`` lets one actor run at a time and owns the time; ``store`` is the object store with its faults (``faults``), which actors reach through a
``connection``; ``surroundings`` takes the machine's randomness out of production code; ``world`` puts a repository and the ``machines`` of its hosts,
maintainers and owner on top, and asks the ``invariants`` and those of the ``protocol`` after every store operation; ``hosts``, ``maintainers``,
``owner`` and ``liar`` have the jobs that are done there; ``offsite`` is a second repository, for copies; ``scenario`` makes a whole run out of a
seed, and ``crash_points`` crashes a job at every store call that it makes.

docs/threat-model.md; run it with ``python -m seedcorn.testing.simulate``.
"""
