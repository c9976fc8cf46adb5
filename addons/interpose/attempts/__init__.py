"""What becomes of a call that fails: whether it is sent again, where to, and after which pause.

Pure pieces, each a few lines of state with clock and dice passed in; `sends` carries them out. A *lane* is what
providers limit and what breaks as one: a provider and the credential that is used there.
"""
