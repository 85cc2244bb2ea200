"""The rules of the protocol, and what becomes of it without each of them.

Owns: the switches, the mutants (a rule is missing; the search must find a lost frame) and the variations (a freedom is taken; nothing may be lost).
The defaults are the protocol.

What the proof rests on, for whoever writes the real one. Each line is a switch below, or holds in every configuration.

The store
- "Listed" is the set of keys whose put was acknowledged before the LIST began. Nothing else is asked of a LIST: it need not be a snapshot, and
  later keys may be in it or not. The next request starts after the answer to the one before it. A LIST that fails, or is empty where it can not be,
  is none.
- Numbers of collections decide nothing. A create-only put of gc/N.mark gives N to one of two collectors; where puts are not create-only, two would
  overwrite each other's record, so a name carries a random id of the process too. B is the *set* of sweep records seen ("highest-number").
- Nothing under gc/ is ever removed ("records-deleted"). No rule for removing any was found that needs no clock.

Dead packs: D
- D = packs of each sweep without `done` + packs of each sweep with `done` but those that the `done` says it **kept**. So `done` lists the kept
  packs, and what a sweep deleted stays dead for ever ("dead-packs-return"): a host that was suspended puts its segment after its packs were swept
  and deleted, a collector merges segments that it loaded before; either way the index lists packs that are gone. The index proves nothing.
- Packs of marks may be in D; as long as B is a set they need not be ("marks-relied-on"). So a mark that can not be read stops nobody.
- A `done` that can not be read, by some or by all, is as good as none ("dones-damaged"): D is larger then. A sweep that can not be read stops all
  who have not read it: what it named is dead for ever, and its `done` does not say what that was.

A host
- H0 before H1, and everything reused is looked up in this session's index minus D: local tables and unchanged listings are hints.
- H4 after the segments, H6 after H4, H7 after H6 ("no-check"; "no-h7" where snapshots expire). H5 is only early news.
- H7 minds every sweep outside B, also those that are `done` ("finished-unchecked"), and also where they name packs that this session itself put
  ("own-packs-unchecked"): age of packs, checkpoints and grace make that rare, not impossible. And it minds an expiry that names its snapshot.
- A frame is safe if one of its copies known at H1, or in an index loaded after H7's LIST, lies outside D and outside those sweeps ("index-again").
  Of a sweep that is `done` it may trust the kept packs ("kept-trusted").
- Torn: void record, then H0 again. The redo takes B, D and index anew for *all* its frames, those of unaffected files too ("partial-redo"): the
  void has taken away what protected them. If the redo is torn as well, the same again; an expiry of the first snapshot does not touch the second.

A collector
- Roots: every snapshot, with a receipt or without, that is not void, not forgotten, and not (expired without a receipt); every checkpoint that is
  not expired and whose snapshot is not there. Void and forgotten hold from the moment the record is seen. (The program keeps
  a void snapshot as long as it lacks nothing: roots that are more than these lose nothing.) A receipt without H7 counts as a receipt.
- G1 to G4 choose; nothing rests on them, or on grace. After the put of the sweep is acknowledged it lists gc/ and the roots and loads the index,
  all three anew ("no-g6", "gc-not-relisted", "old-index"), in any order ("g6-other-order"). Not so for copies that nothing needs yet, which this
  model does not have: who finds one in the index lists gc/ after it (ADR 0010).
- A victim is kept if a root needs a frame of it that has no indexed copy outside D and outside its own victims. So packs of another's unfinished
  sweep are never survivors ("unfinished-survive").
- It deletes under its own record only, and it alone puts the `done` of it, after its deletions ("finishes-others"). Who comes after a collector
  that stopped puts a sweep of its own, which may name the same packs (no second grace is needed). A sweep without `done` stays one: its packs are
  in D until they are gone, and repacking frees what lives in them.
- Expiry: put the record, then list receipts ("receipts-not-relisted"). G6 does so anyway. Checkpoints expire without more ado: H7 is what protects.
- Repacking: new pack, its segment, then the sweep of the old pack. The new pack has no root of its own and may be swept by another: that is what
  "no survivors in unfinished sweeps" is for.
- A pack that no segment lists shows no frames and is not rescued. An earlier collector that stopped between index and packs leaves such packs; who
  needed them is torn by its sweep, or was forgotten.

Undelete
- As a host: put the record, then list gc/, then load the index; every frame needs a copy outside D, or it failed and the snapshot is forgotten
  again by a new record ("undelete-unchecked"). During an open sweep that names its packs it fails, even where G6 will keep them.

A relocator (``prune --deep``): gives a snapshot that is confirmed other needs than it has said, while it is promised
- The new pack and its segment; relocations listed, then roots; D3 announces what the snapshots are going to need; *then* D4 lists the relocations and
  D5 gc/, in any order; D6, done, only if nobody else has announced or done anything since D2 and no sweep names the new pack. It never retracts.
- The argument is H7's, but the check comes before what it allows: until done, snapshots need what they needed, and afterwards it is too late to be
  torn. So nothing expires an announcement: it is a root as long as done could make it rule, that is until a higher one is done for all that it names.
- A relocator that was suspended before D6 does no harm: its number is lower than that of whoever began after its D3 and went further.
- Numbers decide here, with a random id for equal ones; D4 is what makes that enough.
- A snapshot that is forgotten keeps no announcement. So undelete asks for what the snapshot would need if an announced one were done.

Readers
- A receipt does not say that H7 was clean. Not searched, but by the same argument: retention counts a snapshot as confirmed only with a receipt,
  without void and expiry, and if every frame it needs has an indexed copy outside D.

Not in the model: signatures, lying hosts, lost or late answers (a late put is a slow host; a late DELETE hits a pack that stays dead), non-linear
stores, the 30 % brake, more actors than a configuration has. Nor dedup domains: to a host the segments of others are as if they were not there, and a
frame, its copies and who relies on it are of one domain, so it knows every copy that it could count; a collector must see all domains, or stop.
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
    dones_may_be_damaged: bool = False  # who can not read a `done` takes its sweep for unfinished; collectors, too
    redo_from_fresh_base: bool = True  # a redo chooses all its frames anew, those of unaffected files too
    # Collectors
    read_at_g6: tuple[str, ...] = ("gc", "roots", "index")  # after the sweep record; what is not read again is as G1 read it
    count_unfinished_as_survivors: bool = False  # a pack in another's unfinished sweep counts as a copy that stays
    keep_sweep_records: bool = True  # gc/N.* stay after `done`
    finish_others_sweeps: bool = False  # a collector goes on with the sweep of one that seems to have stopped
    relist_receipts_after_expiry: bool = True  # an expiry counts only against receipts listed after it
    relist_relocations: bool = True  # G6 lists the relocations, too
    keep_announced: bool = True  # an announced relocation is a root as long as it may be done
    # Operators
    check_after_undelete: bool = True  # undelete puts its record, then lists gc/, then loads the index
    undelete_what_is_announced: bool = True  # it asks for what the snapshot needs if an announced relocation is done, too
    # Relocators
    announce_relocations: bool = True  # D3 to D5 at all
    relist_relocations_after_announcement: bool = True  # D4
    list_gc_after_announcement: bool = True  # D5


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
    "dead-packs-return": Mutant(Rules(deleted_packs_stay_dead=False), "late segment", "D forgets a sweep at its `done`, and trusts the index"),
    "unannounced": Mutant(Rules(announce_relocations=False), "relocation", "a relocation is done without having been announced"),
    "announced-swept": Mutant(Rules(keep_announced=False), "relocation", "an announced relocation is no root"),
    "announced-unchecked": Mutant(Rules(list_gc_after_announcement=False), "relocation", "no check of gc/ after the announcement"),
    "relocations-not-relisted": Mutant(Rules(relist_relocations=False), "relocation", "G6 does not list the relocations again"),
    "relocators-unseen": Mutant(
        Rules(relist_relocations_after_announcement=False), "relocations", "relocators do not look for others after the announcement"
    ),
    "undelete-unannounced": Mutant(
        Rules(undelete_what_is_announced=False), "relocation and undelete", "undelete asks only for what the snapshot needs now"
    ),
    "undelete-unchecked": Mutant(Rules(check_after_undelete=False), "undelete", "undelete checks before its record, not after"),
}

VARIATIONS = {
    "marks-relied-on": Mutant(Rules(avoid_unswept_marks=False), "marks", "D holds sweeps only (while B is a set)"),
    "index-again": Mutant(Rules(check_against_new_index=True), "duplicates", "H7 accepts copies that an index loaded after gc/ shows"),
    "kept-trusted": Mutant(Rules(trust_kept_packs=True), "duplicates", "H7 minds of a sweep that is done only what it deleted"),
    "dones-damaged": Mutant(Rules(dones_may_be_damaged=True), "collectors", "who can not read a done record takes its sweep for unfinished"),
    "dones-damaged-duplicates": Mutant(Rules(dones_may_be_damaged=True), "duplicates", "the same, with two packs that hold the same frame"),
    "index-before-gc-alone": Mutant(Rules(list_gc_before_index=False), "collectors", "H1 before H0, while deleted packs stay dead"),
    "g6-other-order": Mutant(Rules(read_at_g6=("index", "roots", "gc")), "duplicates", "G6 reads in another order, all of it after the sweep record"),
}
