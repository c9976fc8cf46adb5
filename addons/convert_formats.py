"""mitmdump -s addons/convert_formats.py --set interpose_rules=F: calls in the format of their route's provider."""

from interpose.hosts.mitm.script import Script
from interpose.rules.parts import Part

addons = [Script(Part.CONVERSION, Part.ROUTES)]
