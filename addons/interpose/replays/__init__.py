"""Recorded calls, decided anew under other rules: what would have become of each, and how that differs.

Nothing is sent, no credential is looked at, and no clock runs but that of the recording.
"""
