"""The live tests: what a user does, done to the release binary."""
