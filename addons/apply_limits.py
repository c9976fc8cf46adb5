"""mitmdump -s addons/apply_limits.py --set interpose_rules=F: who may call, and how much; nothing else changes."""

from interpose.hosts.mitm.script import Script
from interpose.rules.parts import Part

addons = [Script(Part.CLIENTS, Part.LIMITS)]
