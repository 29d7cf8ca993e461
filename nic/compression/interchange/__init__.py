"""Codes to and from the files of other tools: one layout a module, `layouts` names them all."""
