"""The way to providers: pooled connections that all clients share, what is sent over them, and what comes back.

Whether, to whom and how often something is sent is not known here: `engine` says it.
"""
