"""mitmdump -s addons/inject_credentials.py --set interpose_rules=F: clients' keys are checked, the real ones put in."""

from interpose.hosts.mitm.script import Script
from interpose.rules.parts import Part

addons = [Script(Part.CLIENTS, Part.CREDENTIALS)]
