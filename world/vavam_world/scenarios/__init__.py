"""What is driven: suites of routes and of safety scenarios, frozen."""
