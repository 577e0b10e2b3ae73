"""The triggers; with function_app.py the only code that imports azure.functions."""
