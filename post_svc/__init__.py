"""Posts, and the media they carry."""
