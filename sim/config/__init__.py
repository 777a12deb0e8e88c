"""Config: YAML and JSON in, frozen values out; the only room that knows yaml and pydantic."""
