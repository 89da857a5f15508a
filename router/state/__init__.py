"""State that outlives the process, or that several routers share.

It is marks of private conversations, the shared store, the keys of a team, and the key by which
programs of one user know each other.
"""
