"""Trained models outside of tsjax: one step as C, NumPy, CasADi, ONNX or StableHLO."""
