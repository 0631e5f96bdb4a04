"""A reader for tests in which nobody reads."""


class Nobody:
    """Whom these tests have for readers."""

    async def can_view(self, viewer_id: int, author_id: int) -> bool:
        """Show nothing of others."""
        raise AssertionError(f"{viewer_id} reads {author_id}")
