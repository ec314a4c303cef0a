"""boto3 against moto's server, which checks the signature over path, query, Host and body.

Presigned URLs break it where it checks signatures, so these go to one that does not.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.clients.ways import ThirdParty, Ways, needed, standing

needed("boto3", "moto", "flask", "flask_cors")

import boto3  # noqa: E402
from boto3.s3.transfer import TransferConfig  # noqa: E402
from botocore.config import Config  # noqa: E402
from botocore.exceptions import ClientError  # noqa: E402

KEYS = [
    "plain.txt",
    "a//b",
    "/leading",
    "dir/",
    "../x",
    "a/../b",
    "./c",
    "ünï/cödé",
    "per%25cent",
    "per%2Fcent",
    "a b+c&d=e?f#g",
    "~-_.!*'()",
]
MOTO = ["-m", "moto.server", "-H", "127.0.0.1", "-p", "{port}"]
LARGE = hashlib.sha256(b"large").digest() * (11 * 1024 * 1024 // 32)
BUCKET = "claims"
ALLOW_ALL = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
ANYBODY = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
UNCHECKED = 3  # calls until signatures count: those that make the user


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    directory = tmp_path_factory.mktemp("s3")
    settings = {"INITIAL_NO_AUTH_ACTION_COUNT": str(UNCHECKED)}
    with standing(directory, ThirdParty("moto", directory, MOTO, settings)) as ways:
        yield ways


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    directory = tmp_path_factory.mktemp("s3-trusting")
    with standing(directory, ThirdParty("moto", directory, MOTO)) as ways:
        yield ways


@pytest.fixture(scope="module")
def key(ways: Ways) -> dict[str, str]:
    """The credentials of a user who may do everything."""
    iam = boto3.client("iam", endpoint_url=ways.direct, region_name="us-east-1", **ANYBODY)
    iam.create_user(UserName="u")
    iam.put_user_policy(UserName="u", PolicyName="p", PolicyDocument=ALLOW_ALL)
    made = iam.create_access_key(UserName="u")["AccessKey"]
    return {"aws_access_key_id": made["AccessKeyId"], "aws_secret_access_key": made["SecretAccessKey"]}


def client(url: str, key: dict[str, str]) -> Any:
    config = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}, signature_version="s3v4")
    return boto3.client("s3", endpoint_url=url, region_name="us-east-1", config=config, **key)


def put_object(s3: Any, key: str) -> str:
    return str(s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())["ETag"])


def get_object(s3: Any, key: str) -> bytes:
    body: bytes = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return body


def delete_object(s3: Any, key: str) -> int:
    return int(s3.delete_object(Bucket=BUCKET, Key=key)["ResponseMetadata"]["HTTPStatusCode"])


def outcome(call: Callable[..., Any], *arguments: Any) -> Any:
    """What a call gave, or the code of its refusal."""
    try:
        return call(*arguments)
    except ClientError as refusal:
        return refusal.response["Error"]["Code"], refusal.response["ResponseMetadata"]["HTTPStatusCode"]


def same(ways: Ways, key: dict[str, str], story: Callable[[Any], Any]) -> Any:
    """What a story with a bucket of its own comes to, which is the same all ways."""
    told = []
    for url in (ways.direct, *ways.through):
        s3 = client(url, key)
        s3.create_bucket(Bucket=BUCKET)
        told.append(story(s3))
        bucket = boto3.resource("s3", endpoint_url=ways.direct, region_name="us-east-1", **key).Bucket(BUCKET)
        bucket.objects.delete()
        bucket.delete()
    for through in told[1:]:
        assert through == told[0]
    return told[0]


@pytest.mark.slow
def test_odd_keys_are_the_same_objects(ways: Ways, key: dict[str, str]) -> None:
    def story(s3: Any) -> Any:
        put = {name: outcome(put_object, s3, name) for name in KEYS}
        read = {name: outcome(get_object, s3, name) for name in KEYS}
        listed = [found["Key"] for found in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]
        gone = {name: outcome(delete_object, s3, name) for name in KEYS}
        return put, read, listed, gone, s3.list_objects_v2(Bucket=BUCKET)["KeyCount"]

    _, read, listed, _, left = same(ways, key, story)
    assert {name: read[name] for name in ("plain.txt", "a//b", "ünï/cödé")} == {
        name: name.encode() for name in ("plain.txt", "a//b", "ünï/cödé")
    }
    assert {"a//b", "ünï/cödé", "per%25cent"} <= set(listed)
    assert left == 0


@pytest.mark.slow
def test_a_large_object_goes_up_in_parts_and_comes_down_whole_and_in_ranges(ways: Ways, key: dict[str, str]) -> None:
    def story(s3: Any) -> Any:
        parts = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20, max_concurrency=3)
        s3.upload_fileobj(io.BytesIO(LARGE), BUCKET, "large", Config=parts, ExtraArgs={"Metadata": {"who": "me"}})
        whole = io.BytesIO()
        s3.download_fileobj(BUCKET, "large", whole, Config=parts)
        head = s3.head_object(Bucket=BUCKET, Key="large")
        part = s3.get_object(Bucket=BUCKET, Key="large", Range="bytes=6000000-6000099")
        none = outcome(lambda: s3.get_object(Bucket=BUCKET, Key="large", Range="bytes=99999999-"))
        copied = s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "large"})
        return (
            hashlib.sha256(whole.getvalue()).hexdigest(),
            (head["ContentLength"], head["ETag"], head["Metadata"]),
            (part["ContentRange"], part["Body"].read(), part["ResponseMetadata"]["HTTPStatusCode"]),
            none,
            copied["CopyObjectResult"]["ETag"],
        )

    digest, (length, tag, metadata), (span, _, status), none, _ = same(ways, key, story)
    assert digest == hashlib.sha256(LARGE).hexdigest()
    assert (length, metadata) == (len(LARGE), {"who": "me"})
    assert tag.endswith('-3"')
    assert (span, status) == (f"bytes 6000000-6000099/{len(LARGE)}", 206)
    assert none[1] == 416


@pytest.mark.slow
def test_presigned_urls_and_conditions_hold(trusting: Ways) -> None:
    def story(s3: Any) -> Any:
        put = s3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "ü d"})
        with urlopen(Request(put, b"x" * 100_000, {"Content-Type": "text/plain"}, method="PUT"), timeout=30) as reply:
            stored = reply.status
        got = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "ü d"})
        with urlopen(got, timeout=30) as reply:
            read = reply.status, reply.read()
        tag = s3.head_object(Bucket=BUCKET, Key="ü d")["ETag"]
        unchanged = outcome(lambda: s3.get_object(Bucket=BUCKET, Key="ü d", IfNoneMatch=tag))
        absent = outcome(lambda: s3.get_object(Bucket=BUCKET, Key="absent"))
        return stored, read, unchanged, absent

    stored, read, unchanged, absent = same(trusting, ANYBODY, story)
    assert (stored, read) == (200, (200, b"x" * 100_000))
    assert (unchanged[1], absent) == (304, ("NoSuchKey", 404))


@pytest.mark.slow
def test_a_wrong_signature_is_refused_all_ways(ways: Ways, key: dict[str, str]) -> None:
    wrong = {**key, "aws_secret_access_key": "wrong"}
    refusals = [outcome(client(url, wrong).list_buckets) for url in (ways.direct, *ways.through)]
    assert refusals == [("SignatureDoesNotMatch", 403)] * 3
