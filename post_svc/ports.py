"""What the post service needs of others."""

from typing import Protocol


class Visibility(Protocol):
    """Who may see whose posts."""

    async def can_view(self, viewer_id: int, author_id: int) -> bool:
        """Tell whether a user may see another's posts now. Raises UnavailableError and OverloadedError: it is not known."""
