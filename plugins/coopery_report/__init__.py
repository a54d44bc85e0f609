"""Pictures of recipes and runs: graphs, an HTML report, JUnit XML."""
