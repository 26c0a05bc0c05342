"""Spectral views of signals: the short-time Fourier transform and its plots."""
