"""Pictures and videos: where they are uploaded to and read from, whatever engine keeps them."""
