"""Azure ML, through Azure Resource Manager."""
