"""Puts the gateway's default rules into the wheel, where `interpose serve` finds them without a checkout.

An editable install has the checkout, and none of it: a folder `interpose` beside its link would look like the package.
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class DefaultRules(BuildHookInterface):  # type: ignore[type-arg] # of whatever configuration
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            build_data["force_include"]["rules/gateway.yaml"] = "interpose/gateway.yaml"
