"""herd"""
