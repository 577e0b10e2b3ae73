"""Azure DevOps, behind the azure-devops SDK."""
