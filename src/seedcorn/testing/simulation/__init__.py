"""Real production code on a store, clocks and randomness that a seed decides: what goes wrong once can be run again.

``scheduler`` lets one actor run at a time and owns the time; ``store`` is the object store with its faults (``faults``), which actors reach through a
``connection``; ``surroundings`` takes the machine's randomness out of production code; ``world`` puts a repository, its hosts and its owner on top,
and asks the ``invariants`` after every store operation; ``offsite`` is a second repository, for copies; ``scenario`` makes a whole run out of a seed,
and ``crash_points`` crashes a job at every store call that it makes.

docs/threat-model.md; run it with ``python -m seedcorn.testing.simulate``.
"""
