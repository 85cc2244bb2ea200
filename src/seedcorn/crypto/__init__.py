"""Sealing, signing and naming of bytes. Never sees a path, a struct or a store; the only importer of cryptography, blake3 and mnemonic.

    primitives   the algorithms of suite 1, one function each
    frames       bulk sealing into the caller's buffers
    keys         who may do what: OwnerKey, MaintainKey, HostKey, DomainSecrets
    slots        the owner seed under a passphrase
    words        the owner seed on paper

docs/format.md, sections "Objects" to "Key slot".
"""
