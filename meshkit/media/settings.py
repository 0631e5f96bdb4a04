"""Settings of those who keep media: the post service, and the edge app, which takes and serves it on one machine."""

from pydantic import Field

from meshkit.keys import load_or_create
from meshkit.settings import MeshSettings


class MediaSettings(MeshSettings):
    """Where media is, and how clients reach it."""

    media: str = Field(
        default="",
        repr=False,
        description="file:///folder, or s3://[KEY:SECRET@]BUCKET[/PREFIX]?region=REGION; default: `media` in the data folder",
    )
    media_public_url: str = Field(
        default="",
        pattern=r"^(https?://[^\s?#]*[^\s?#/])?$",
        description=(
            "where clients read media: a CDN in front of the bucket, or, for a folder, what routes /media/ to the edge app; "
            "default: the bucket's own endpoint, or http://127.0.0.1:8080"
        ),
    )
    media_key: str = Field(
        default="", pattern=r"^(|.{32,})$", repr=False, description="signs upload URLs of a folder; default: in the data folder"
    )

    @property
    def media_url(self) -> str:
        """Where media is kept."""
        return self.media or (self.data_dir.absolute() / "media").as_uri()

    def media_secret(self) -> bytes:
        """Give what upload URLs are signed with."""
        return self.media_key.encode() or load_or_create(self.keys_dir / "media.key")
