"""`interpose doctor`: does the environment that `interpose run` makes lead the runtimes of this machine here?

`probes` is the table of what is tried, `verdicts` says what came of it and what to do, `examine` does it. The proxy is
a real one with the real CA, and nothing leaves the machine: the hosts that are asked for do not exist, and are
answered by the engine's own refusal.
"""

from .examine import doctor

__all__ = ["doctor"]
