"""mitmdump -s addons/log_usage.py: tokens of every AI call into the ledger, under the names of the rules' providers."""

from interpose.hosts.mitm.script import Script

addons = [Script()]
