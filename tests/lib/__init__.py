"""Shared by the whole-program tests: manifests, Lintel processes, clients, backends, load."""
