"""The package as somebody gets it who has no checkout: built, installed on each Python that is here, and used."""
