"""What the graph service needs from others."""

from typing import Protocol


class Feeds(Protocol):
    """Home feeds."""

    async def hide(self, viewer_id: int, author_id: int, version: int) -> None:
        """Take an author's posts out of a viewer's feed, and keep them out until a change with a larger version brings them back.

        Raises:
            UnavailableError, OverloadedError: it may not be done; it may be asked again.

        """
