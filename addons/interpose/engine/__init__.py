"""One call's life: planned, limited, sent, streamed back, settled, recorded once.

`engine.Engine` is what a host holds. It asks `stages.plan` what to do and does it: `sending` carries out the attempts
of a plan, `exchange` remembers what has become of the call, `gate` stands before it for the limits. Connections are
the matter of `upstream`, decisions that of `stages` and `attempts`.
"""
