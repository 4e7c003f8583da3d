"""Loopback peers: small servers that speak the wire protocols of Google's services, and fail when told to.

They keep what these clients rely on (transactions, generations, preconditions, names, limits) and nothing else; what
they cannot vouch for is fidelity, so the official emulators run the same tests where they are installed.
"""
