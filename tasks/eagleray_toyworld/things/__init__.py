"""What stands in a scene, as lists of parts: vehicles, people, houses, plants, street furniture."""
