"""Policies: what the shepherd does with a herd.

A policy is a class with the interface of `mustherd.policy.base.Policy`. Those of the project and those that other
packages add are found through the entry point group `mustherd.policies`.
"""
