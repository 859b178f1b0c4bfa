//! Logs: readable on a terminal, JSON with severity elsewhere.
