"""mitmdump -s addons/audit_only.py: every AI call is seen and recorded, no byte is changed, no header added."""

from interpose.hosts.mitm.script import Script

addons = [Script()]
