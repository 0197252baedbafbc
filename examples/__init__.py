"""Programs that use the packages of this project. They are run from the repository."""
