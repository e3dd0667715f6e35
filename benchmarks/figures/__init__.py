"""Figures of the families: functions from Results to a matplotlib Figure."""
