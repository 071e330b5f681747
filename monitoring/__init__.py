"""What the service has seen: profiles of traffic, their history in MLflow, drift, feedback and its review."""
