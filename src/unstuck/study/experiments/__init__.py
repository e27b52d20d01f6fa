"""What studies train and compute with: networks, surfaces, walks and closed forms, apart from any one claim."""
