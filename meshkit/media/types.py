"""The list of what may be uploaded. The contract (`CreateMediaRequest`) repeats it for people.

SVG, HTML and XML are not on it, and must not be: a browser that opens them runs what their author wrote, in the name of the site
that serves them.
"""

from dataclasses import dataclass
from enum import Enum

_MIB = 1_048_576


class Kind(Enum):
    """What a file shows."""

    PICTURE = "picture"
    VIDEO = "video"


@dataclass(frozen=True, slots=True)
class MediaType:
    """A type that is taken. The extension is the end of every key that holds it; no two types share one."""

    content_type: str
    extension: str
    kind: Kind

    @property
    def max_bytes(self) -> int:
        """The most that one file may hold."""
        return _MAX_BYTES[self.kind]


_MAX_BYTES = {Kind.PICTURE: 20 * _MIB, Kind.VIDEO: 512 * _MIB}
MEDIA_TYPES = (
    MediaType("image/jpeg", "jpg", Kind.PICTURE),
    MediaType("image/png", "png", Kind.PICTURE),
    MediaType("image/gif", "gif", Kind.PICTURE),
    MediaType("image/webp", "webp", Kind.PICTURE),
    MediaType("image/avif", "avif", Kind.PICTURE),
    MediaType("video/mp4", "mp4", Kind.VIDEO),
    MediaType("video/webm", "webm", Kind.VIDEO),
    MediaType("video/quicktime", "mov", Kind.VIDEO),
)
BY_CONTENT_TYPE = {media_type.content_type: media_type for media_type in MEDIA_TYPES}
BY_EXTENSION = {media_type.extension: media_type for media_type in MEDIA_TYPES}
MAX_BYTES = max(_MAX_BYTES.values())
