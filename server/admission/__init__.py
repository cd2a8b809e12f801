"""Which calls are admitted, before a method is looked up: access rules, and rates."""
