"""The commands of core: what `tsjax NAME` runs, by what they are for."""
