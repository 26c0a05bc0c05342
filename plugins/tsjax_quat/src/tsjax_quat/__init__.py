"""Quaternions for attitude estimation: algebra, augmentation, losses, metrics and plots."""
