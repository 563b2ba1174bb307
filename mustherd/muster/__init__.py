"""muster"""
