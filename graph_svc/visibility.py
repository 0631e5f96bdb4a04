"""Who may see whose posts, for other services."""

from collections.abc import Sequence

from graph_svc.domain import Relation, can_view
from graph_svc.ties import TieRepository


class VisibilityService:
    """Relations as they are now."""

    def __init__(self, ties: TieRepository) -> None:
        self._ties = ties

    async def relation(self, viewer_id: int, author_id: int) -> Relation:
        """Give how a viewer stands to an author."""
        return (await self._ties.see(viewer_id, author_id)).relation

    async def visible(self, viewer_id: int, author_ids: Sequence[int]) -> list[int]:
        """Give those of some authors whose posts a viewer may see, in the order asked for."""
        relations = [seen.relation for seen in await self._ties.see_many(viewer_id, author_ids)]
        return [relation.author_id for relation in relations if can_view(relation)]
