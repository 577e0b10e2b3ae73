"""Start the right Azure DevOps release when Azure Machine Learning registers a model."""

__version__ = "0.1.0"
