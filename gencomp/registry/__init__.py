"""MLflow: tracking, versions, aliases and the served model."""
