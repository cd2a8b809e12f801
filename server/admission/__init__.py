"""Admission of calls by access rules and rates, before a server looks up their method."""
