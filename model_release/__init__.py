"""Start the right Azure DevOps release when Azure Machine Learning registers a model."""
