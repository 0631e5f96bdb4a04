"""URLs of tables and buckets on AWS: what they say, and that a wrong one never shows its secret."""

import pytest

from meshkit.aws import Access, BucketUrl, TableUrl, parse_dynamodb_url, parse_s3_url
from meshkit.engines import open_table


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("dynamodb://eu-central-1/feed", TableUrl(Access("eu-central-1"), "feed")),
        ("dynamodb://KEY:a%2Fb%40c+d@us-east-1/a_b.c-1", TableUrl(Access("us-east-1", None, "KEY", "a/b@c+d"), "a_b.c-1")),
        (
            "dynamodb://us-gov-west-1/feed?endpoint_url=http://127.0.0.1:8000",
            TableUrl(Access("us-gov-west-1", "http://127.0.0.1:8000"), "feed"),
        ),
        (
            "dynamodb://K:S@us-east-1/feed?endpoint_url=http%3A%2F%2Flocalhost%3A8000%2F",
            TableUrl(Access("us-east-1", "http://localhost:8000", "K", "S"), "feed"),
        ),
    ],
)
def test_a_table_is_named_by_region_and_name(url: str, expected: TableUrl) -> None:
    """A table's URL gives its region, name, credentials if any, and the endpoint if it is not AWS's."""
    assert parse_dynamodb_url(url) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://media?region=eu-central-1", BucketUrl(Access("eu-central-1"), "media", "")),
        ("s3://K:S@my.media/a%20b/c/?region=us-east-1", BucketUrl(Access("us-east-1", None, "K", "S"), "my.media", "a b/c")),
        (
            "s3://media/up?endpoint_url=https://host:1&region=us-east-1",
            BucketUrl(Access("us-east-1", "https://host:1"), "media", "up"),
        ),
    ],
)
def test_a_bucket_is_named_by_name_and_region(url: str, expected: BucketUrl) -> None:
    """A bucket's URL gives its name, a prefix without slashes at its ends, region, credentials and endpoint."""
    assert parse_s3_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "dynamodb://",
        "dynamodb://KEY:SECRET@us-east-1",
        "dynamodb://KEY:SECRET@us-east-1/",
        "dynamodb://KEY:SECRET@us-east-1/ab",
        "dynamodb://KEY:SECRET@us-east-1/a/b/c",
        "dynamodb://KEY:SECRET@us-east-1:80/feed",
        "dynamodb://KEY:SECRET@feed/",
        "dynamodb://KEY:@us-east-1/feed",
        "dynamodb://:SECRET@us-east-1/feed",
        "dynamodb://SECRET@us-east-1/feed",
        "dynamodb://KEY:SEC/SECRET@us-east-1/feed",
        "dynamodb://KEY:SEC?SECRET@us-east-1/feed",
        "dynamodb://KEY:SEC#SECRET@us-east-1/feed",
        "dynamodb://KEY:[SECRET@us-east-1/feed",
        "dynamodb://KEY:SECRET@us-east-1/feed#there",
        "dynamodb://KEY:SECRET@us-east-1/feed?SECRET=1",
        "dynamodb://KEY:SECRET@us-east-1/feed?endpoint_url=",
        "dynamodb://KEY:SECRET@us-east-1/feed?endpoint_url=localhost:8000",
        "dynamodb://us-east-1/feed?endpoint_url=http://KEY:SECRET@localhost",
        "dynamodb://us-east-1/feed?endpoint_url=http://[SECRET",
        "dynamo://KEY:SECRET@us-east-1/feed",
        "DynamoDB//KEY:SECRET@us-east-1/feed",
        "sqlite://KEY:SECRET@us-east-1/feed",
    ],
)
def test_a_wrong_table_url_says_what_is_right(url: str) -> None:
    """The error shows the right form, and nothing of what may be the secret."""
    with pytest.raises(ValueError, match=r"dynamodb://\[KEY:SECRET@\]REGION/TABLE") as failure:
        open_table(url)
    assert "SECRET" not in str(failure.value).replace("[KEY:SECRET@]", "")
    assert failure.value.__cause__ is None


@pytest.mark.parametrize(
    "url",
    [
        "s3://KEY:SECRET@media",
        "s3://KEY:SECRET@media/prefix?region=",
        "s3://KEY:SECRET@Media?region=us-east-1",
        "s3://KEY:SEC/SECRET@media?region=us-east-1",
        "s3://KEY:SECRET@media?region=us-east-1&acl=public",
        "s3://?region=us-east-1",
        "https://KEY:SECRET@media?region=us-east-1",
    ],
)
def test_a_wrong_bucket_url_says_what_is_right(url: str) -> None:
    """The error shows the right form, and nothing of what may be the secret."""
    with pytest.raises(ValueError, match=r"s3://\[KEY:SECRET@\]BUCKET") as failure:
        parse_s3_url(url)
    assert "SECRET" not in str(failure.value).replace("[KEY:SECRET@]", "")
