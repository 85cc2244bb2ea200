"""What tests of seedcorn, and of programs built on it, are made of: stores in memory, a conformance suite, real servers.

Shipped with the package and imported by no production module.
"""
