"""The command `migrate`: move from the classic extension's triggers to a release map."""
