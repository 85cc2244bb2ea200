"""Content-defined cuts: bytes in view in, lengths of chunks out. Sole importer of pyfastcdc.

Owns the tiers (how finely content of which size is cut) and the rule of when a cut may be decided. Must never know where the bytes come from.

Invariant: the lengths depend on the content, its tier and the seed only, never on how the content was split into buffers. Equal content is cut
equally by every host of a dedup domain, and differently elsewhere. That hides no lengths from a determined attacker, as only 48 bits of the seed
count: frames do.

docs/format.md, section "Chunks".
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pyfastcdc.cy import FastCDC

__all__ = ["HEAD_MATTERS_ABOVE", "LARGEST_CHUNK", "TIERS", "Cutter", "Tier", "tier_for"]

_KIB = 1024
_MIB = 1024 * 1024
_SEED_MASK = (1 << 48) - 1  # the cutter tests no higher bit of its hash, so higher bits of the seed have no effect; pyfastcdc refuses bit 63


@dataclass(frozen=True, slots=True)
class Tier:
    """Sizes of chunks in bytes: about ``avg_bytes`` on average, never above ``max_bytes``, below ``min_bytes`` only at the end of the content."""

    avg_bytes: int
    min_bytes: int = field(init=False)
    max_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "min_bytes", self.avg_bytes // 2)
        object.__setattr__(self, "max_bytes", self.avg_bytes * 4)


TINY, SMALL, MEDIUM, LARGE, HUGE = TIERS = (Tier(4 * _KIB), Tier(8 * _KIB), Tier(16 * _KIB), Tier(64 * _KIB), Tier(512 * _KIB))
LARGEST_CHUNK = HUGE.max_bytes  # 2 MiB: no chunk of any tier is longer
HEAD_MATTERS_ABOVE = 128 * _KIB  # content up to this size has the same tier whether or not it compresses


def tier_for(size: int | None, *, compressible: bool = True) -> Tier:
    """The tier of a whole content of ``size`` bytes (``None``: a stream of unknown length). ``compressible`` tells of its head."""
    if size is None:
        return LARGE
    if compressible or size <= HEAD_MATTERS_ABOVE:
        if size <= 64 * _KIB:
            return TINY
        if size <= _MIB:
            return SMALL
        if size <= 16 * _MIB:
            return MEDIUM
    return LARGE if size <= 256 * _MIB else HUGE


class Cutter:
    """Cuts for one seed. Holds no state between calls: any number of threads may share it, and the work is done without the interpreter lock."""

    __slots__ = ("_engines",)

    def __init__(self, seed: int) -> None:
        """``seed``: unsigned 64-bit number, ``DomainSecrets.cut_seed``."""
        self._engines = {
            tier.avg_bytes: FastCDC(tier.avg_bytes, min_size=tier.min_bytes, max_size=tier.max_bytes, normalized_chunking=2, seed=seed & _SEED_MASK)
            for tier in TIERS
        }

    def cuts(self, view: memoryview, tier: Tier, *, start: bool, final: bool) -> list[int]:
        """Lengths of the chunks, in order, that can be decided from ``view``, which begins at a cut.

        Args:
            view: contiguous bytes.
            start: ``view`` begins at the start of the content: content not longer than ``tier.avg_bytes`` stays whole.
            final: ``view`` ends with the content. The lengths then add up to ``len(view)``. Otherwise fewer than ``tier.max_bytes`` bytes at the
                end of ``view`` stay undecided and have to be shown again, with what follows them.
        """
        remaining = len(view)
        if final:
            if start and remaining <= tier.avg_bytes:
                return [remaining] if remaining else []
            return [chunk.length for chunk in self._engines[tier.avg_bytes].cut_buf(view)]
        lengths: list[int] = []
        if remaining < tier.max_bytes:
            return lengths
        for chunk in self._engines[tier.avg_bytes].cut_buf(view):
            length = chunk.length
            lengths.append(length)
            remaining -= length
            if remaining < tier.max_bytes:
                break
        return lengths
