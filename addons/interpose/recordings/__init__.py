"""Calls that were recorded, from whatever file, in one shape: for those who export them, decide them anew, or answer
from them. What is read here has been seen by others before: nothing of it is trusted, and nothing is sent.

Ledgers and HAR files are read here; what mitmproxy saves is read in `hosts/mitm`, and which of them a file is, is
told in `hosts/recorded.py`.
"""

from .model import Answered, Asked, Flaws, Recorded, Sent, Spoken

__all__ = ["Answered", "Asked", "Flaws", "Recorded", "Sent", "Spoken"]
