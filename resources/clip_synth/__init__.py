"""Synthesis of the background clips: one module per family of sound, numpy only."""
