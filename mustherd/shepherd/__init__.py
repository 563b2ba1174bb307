"""shepherd"""
