"""What wakes the app; with function_app.py the only code that knows azure.functions."""
