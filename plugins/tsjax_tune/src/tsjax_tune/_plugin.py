"""The plugin `tune`.

It has no hook: hyperparameter search drives a learner from outside, so there is no component to
resolve by name. The entry point lists the distribution among the installed plugins.
"""
