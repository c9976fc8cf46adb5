"""mitmdump -s addons/route_calls.py --set interpose_rules=F: calls go where the routes say, own keys kept."""

from interpose.hosts.mitm.script import Script
from interpose.rules.parts import Part

addons = [Script(Part.ROUTES)]
