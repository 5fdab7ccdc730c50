"""Fuzz everything that reads input from outside."""
