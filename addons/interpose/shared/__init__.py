"""What the processes and machines that share a store tell each other beside limits: which ways are left alone, and
which virtual keys there are and are no more. No decision waits for it: what is known is here when a call comes.
"""
