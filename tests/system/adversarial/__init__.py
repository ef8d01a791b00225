"""Requests that try to make two servers disagree, and those that must go on working."""
