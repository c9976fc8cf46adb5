"""mitmdump|mitmweb|mitmproxy -s addons/intercept.py --set interpose_rules=F: everything that the rules ask."""

from interpose.hosts.mitm.script import Script
from interpose.rules.parts import Part

addons = [Script(*Part)]
