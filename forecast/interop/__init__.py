"""Our models in other people's interfaces."""
