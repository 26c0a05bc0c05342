"""Plugins, and the components that they register by name."""
