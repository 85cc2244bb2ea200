"""The rules of the protocol that the model can take away, one by one.

Owns: the switches, the mutants (one rule missing; the search must find a lost frame in each) and the variations (a rule changed so that nothing may be
lost). The defaults are the protocol.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MUTANTS", "PROTOCOL", "VARIATIONS", "Mutant", "Rules"]


@dataclass(frozen=True)
class Rules:
    """The protocol; each field set otherwise is one rule broken or one freedom taken."""

    # Hosts
    list_gc_before_index: bool = True  # H0 before H1
    avoid_unfinished_sweeps: bool = True  # H1 relies on no pack of a sweep without `done`
    avoid_unswept_marks: bool = True  # ... nor of a mark without `done`
    deleted_packs_stay_dead: bool = True  # ... nor of a sweep with `done`, but for what the `done` says was kept
    base_is_a_set: bool = True  # B is the sweeps seen at H0, not the highest number among them
    check_after_commit: bool = True  # H7 (or H5) at all
    check_after_receipt: bool = True  # H7, rather than H5 alone
    check_finished_sweeps: bool = True  # H7 looks at sweeps that are already `done`
    check_own_packs: bool = True  # H7 looks for packs that this session put, too
    check_against_new_index: bool = False  # H7 accepts copies that another index listing, read after gc/, shows
    trust_kept_packs: bool = False  # H7 does not mind a sweep that is `done` and kept the pack
    redo_from_fresh_base: bool = True  # a redo chooses all its frames anew, those of unaffected files too
    # Collectors
    read_at_g6: tuple[str, ...] = ("gc", "roots", "index")  # after the sweep record; what is not read again is as G1 read it
    count_unfinished_as_survivors: bool = False  # a pack in another's unfinished sweep counts as a copy that stays
    keep_sweep_records: bool = True  # gc/N.* stay after `done`
    finish_others_sweeps: bool = False  # a collector goes on with the sweep of one that seems to have stopped
    relist_receipts_after_expiry: bool = True  # an expiry counts only against receipts listed after it
    # Operators
    check_after_undelete: bool = True  # undelete puts its record, then lists gc/, then loads the index


PROTOCOL = Rules()


@dataclass(frozen=True)
class Mutant:
    """Rules that differ from the protocol, and the configuration in which to look."""

    rules: Rules
    configuration: str
    meaning: str


MUTANTS = {
    # The eight of SECURITY.md section 5.
    "no-check": Mutant(Rules(check_after_commit=False), "small", "no check after the commit: success at the receipt"),
    "no-g6": Mutant(Rules(read_at_g6=()), "small", "the roots are not listed again after the sweep record"),
    # While deleted packs stay dead the order of H0 and H1 is a second line of defence: here it stands alone, as in the first design.
    "index-before-gc": Mutant(Rules(list_gc_before_index=False, deleted_packs_stay_dead=False), "small", "H1 before H0"),
    "records-deleted": Mutant(Rules(keep_sweep_records=False), "small", "sweep records are deleted when the sweep is done"),
    "relies-on-unfinished": Mutant(Rules(avoid_unfinished_sweeps=False), "small", "H1 relies on packs of an unfinished sweep"),
    "unfinished-survive": Mutant(Rules(count_unfinished_as_survivors=True), "duplicates", "packs of another's unfinished sweep count as survivors"),
    "no-h7": Mutant(Rules(check_after_receipt=False), "expiry", "the check comes before the receipt only (H5, no H7)"),
    "receipts-not-relisted": Mutant(Rules(relist_receipts_after_expiry=False), "expiry", "an expiry counts against receipts listed before it"),
    # What else the proof rests on.
    "finished-unchecked": Mutant(Rules(check_finished_sweeps=False), "small", "H7 passes over sweeps that are done"),
    "own-packs-unchecked": Mutant(Rules(check_own_packs=False), "new content", "H7 passes over packs that the session itself put"),
    "highest-number": Mutant(
        Rules(base_is_a_set=False, avoid_unswept_marks=False), "collectors", "B is the highest number seen, marks are not avoided"
    ),
    "partial-redo": Mutant(Rules(redo_from_fresh_base=False), "two contents", "a redo keeps the frames of unaffected files unchecked"),
    "gc-not-relisted": Mutant(Rules(read_at_g6=("roots", "index")), "duplicates", "G6 does not list gc/ again"),
    "old-index": Mutant(Rules(read_at_g6=("gc", "roots")), "new content", "G6 uses the index of G1"),
    "finishes-others": Mutant(Rules(finish_others_sweeps=True), "collectors", "a collector finishes the sweep of another"),
    "dead-packs-return": Mutant(Rules(deleted_packs_stay_dead=False), "merging", "D forgets a sweep at its `done`; collectors merge segments"),
    "undelete-unchecked": Mutant(Rules(check_after_undelete=False), "undelete", "undelete checks before its record, not after"),
}

VARIATIONS = {
    "marks-relied-on": Mutant(Rules(avoid_unswept_marks=False), "marks", "D holds sweeps only (while B is a set)"),
    "index-again": Mutant(Rules(check_against_new_index=True), "duplicates", "H7 accepts copies that an index loaded after gc/ shows"),
    "kept-trusted": Mutant(Rules(trust_kept_packs=True), "duplicates", "H7 minds of a sweep that is done only what it deleted"),
    "index-before-gc-alone": Mutant(Rules(list_gc_before_index=False), "collectors", "H1 before H0, while deleted packs stay dead"),
    "g6-other-order": Mutant(Rules(read_at_g6=("index", "roots", "gc")), "duplicates", "G6 reads in another order, all of it after the sweep record"),
}
