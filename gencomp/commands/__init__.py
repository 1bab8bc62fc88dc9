"""Command groups of `gencomp`, each in a module of its own."""
