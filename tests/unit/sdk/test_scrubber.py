"""The scrubber masks secrets in text and fields, and leaves other text unchanged."""

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pulseboard.sdk.scrubber import Scrubber

SECRETS = [
    ("postgres://app:hunter2@db/x", "postgres://app:***@db/x"),
    ("Authorization: Bearer eyJhbGciOi.J9.x_y-z", "Authorization: Bearer ***"),
    ("password=hunter2 user=7", "password=*** user=7"),
    ("API_KEY: 'abc def', next", "API_KEY: ***, next"),
    ('{"client_secret": "abc\\"d", "n": 1}', '{"client_secret": ***, "n": 1}'),
    ("Set-Cookie: sid=abc; path=/", "Set-Cookie: ***"),
    ("{'Cookie': 'a=1; session=X', 'n': 1}", "{'Cookie': '***', 'n': 1}"),
    ("password=b'X1y2' n=1", "password=*** n=1"),
    ("<password>hunter2</password>", "<password>***</password>"),
    ("pass=abc auth: x", "pass=*** auth: ***"),
    ("passing=5 author=me authentication ok", "passing=5 author=me authentication ok"),
    ("tokens=['abc', 'def'], n=1", "tokens=***, n=1"),
    ("the token bucket is full", "the token bucket is full"),
    ("PASSPHRASE='a b'", "PASSPHRASE=***"),
    ("private-key=abc Session_Id=x1", "private-key=*** Session_Id=***"),
    ("db_pwd: x; Credentials=y", "db_pwd: ***; Credentials=***"),
    ("café pa\u017f\u017fword=hunter2", "café pa\u017f\u017fword=***"),
    ("https://host/path@2x.png", "https://host/path@2x.png"),
    ("12:30 mail a@b", "12:30 mail a@b"),
    ("DB_PASS=hunter2 n=1", "DB_PASS=*** n=1"),
    (
        "SMTP_PASS=1234, db_pass: x dbpass=x dbPass=x",
        "SMTP_PASS=***, db_pass: *** dbpass=*** dbPass=***",
    ),
    ("pw=x pw: y db_pw=z jwt=j", "pw=*** pw: *** db_pw=*** jwt=***"),
    ("password => x, password=123456", "password => ***, password=***"),
    ("api key: x", "api key: ***"),
    ("auth: Bearer abc", "auth: ***"),
    *(
        (f"got {token} twice", "got *** twice")
        for token in (
            "AKIA" + "A2B3" * 4,
            "ASIA" + "A2B3" * 4,
            *(f"gh{kind}_" + "a1B2" * 9 for kind in "opsur"),
            "ghs_12_eyJhbGciOiJ9.eyJpc3MiOiIxIn0.abc-def_ghi",
            "github_pat_" + "a1" * 11 + "_" + "a1B2" * 15,
            "glpat-" + "a1B_" * 5,
            "glpat-" + "a1B_" * 7 + ".01.a1b2c3d4e",
            *(f"xox{kind}-1234567890-a1B2" for kind in "abprs"),
            "sk_live_" + "a1B2" * 6,
            "rk_live_" + "a1B2" * 6,
            "AIza" + "a1B_-" * 7,
            "npm_" + "a1B2" * 9,
            "pypi-AgEIcHlwaS5vcmc" + "a1B2" * 9,
            "sk-" + "a1B2" * 12,
            "sk-proj-" + "a1_B" * 12,
            "sk-ant-api03-" + "a1-B" * 12,
        )
    ),
    *(
        (
            f"read -----BEGIN {kind}-----\n{body}\n-----END {kind}-----\nand went on",
            "read ***\nand went on",
        )
        for kind, body in (
            ("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,AB12\n\nabcd"),
            ("PGP PRIVATE KEY BLOCK", "Version: a-b\n\nabcd\n=ab12"),
            ("PRIVATE KEY", "abcd\n" * 3_000),
        )
    ),
    ("AAAA\nBBBB\n-----END PRIVATE KEY-----\nand went on", "***\nand went on"),
    ("https://TOKEN@github.com/a", "https://***@github.com/a"),
    ("postgres://app:a/b@db/x", "postgres://app:***@db/x"),
    ("redis://:p@ss/w0rd@host", "redis://:***@host"),
    ("AccountName=a;AccountKey=b/c==;E=x", "AccountName=a;AccountKey=***;E=x"),
    ("SharedAccessKeyName=root;SharedAccessKey=b=", "SharedAccessKeyName=root;SharedAccessKey=***"),
    ("https://h/b?sv=1&sig=a%3D&se=1", "https://h/b?sv=1&sig=***&se=1"),
    (
        "?X-Amz-Credential=A%2Fb&X-Amz-Signature=ab12&x=1",
        "?X-Amz-Credential=***&X-Amz-Signature=***&x=1",
    ),
    ("GET /maps?key=abc&x=1", "GET /maps?key=***&x=1"),
    (
        "Authorization: AWS4-HMAC-SHA256 Credential=A/b, Signature=ab12",
        "Authorization: AWS4-HMAC-SHA256 ***",
    ),
    (
        'Authorization: Digest username="u", response="ab12", opaque="x"\nnext',
        "Authorization: Digest ***\nnext",
    ),
    (
        "{'Authorization': 'Digest username=\"u\", response=\"x\"', 'n': 1}",
        "{'Authorization': 'Digest ***', 'n': 1}",
    ),
    (
        "[(b'host', b'h'), (b'authorization', b'Bearer abc')]",
        "[(b'host', b'h'), (b'authorization', ***)]",
    ),
    ("['run', '--password', 'x', '-v']", "['run', '--password', ***, '-v']"),
    ("run --password 'a b' -v", "run --password *** -v"),
    (
        '{"a": "{\\"b\\": \\"{\\\\\\"password\\\\\\": \\\\\\"x y\\\\\\"}\\"}"}',
        '{"a": "{\\"b\\": \\"{\\\\\\"password\\\\\\": ***}\\"}"}',
    ),
    ('{\\"password\\": \\"a\\\\\\"b\\", \\"n\\": 1}', '{\\"password\\": ***, \\"n\\": 1}'),
    ("{'password': {'value': 'x'}, 'n': 1}", "{'password': ***, 'n': 1}"),
    ("{'credentials': {'a': {'b': [1]}, 'c': '}x'}, 'n': 1}", "{'credentials': ***, 'n': 1}"),
    ("ALTER USER a PASSWORD 'it''s' VALID", "ALTER USER a PASSWORD *** VALID"),
    ("CREATE USER a IDENTIFIED BY 'x'", "CREATE USER a IDENTIFIED BY ***"),
    ('password="' + "a" * 5_000 + '" n=1', "password=*** n=1"),
]
NO_SECRETS = [
    "botocore.exceptions.NoCredentialsError: Unable to locate credentials",
    "psycopg.errors.InvalidPassword: FATAL: it does not fit",
    "    token = get_token(user)",
    "    def login(self, user: str, password: str) -> None:",
    "cannot open /etc/passwd: permission denied",
    "std::auth::Token::new failed",
    "max_tokens: 4096, prompt_tokens=12, total_tokens: 1234567, tokens=7",
    "{'prompt_tokens': 12, 'completion_tokens_details': {'cached_tokens': 0}}",
    "--max-tokens 4096 --token-type bearer",
    "token_type: x, token_type=Bearer, token_count=123456, token_expires_in=3600",
    "tokenizer: gpt2",
    "after basic training the bearer of news found Basic Authentication off",
    "pass: 3, fail: 0",
    "session_id=7 session_id: 7",
    "secretary: Ann",
    "is_password_set=True password: None",
    "passwordless: enabled",
    "bypass=cache sig=SIGTERM signal: 9 monkey=1",
    "https://host:8080/path@2x.png ssh://git@host/x",
    "disk-usage-of-node-17-is-high in asia-southeast1",
]
PIECES = st.sampled_from(
    [
        *(
            piece
            for text, _ in SECRETS
            if len(text) < 200
            for piece in re.findall(r"\w+|\s+|[^\w\s]+", text)
        ),
        *"\\'\"[]{}(),;:=&<>/@ \n*",
        "***",
    ]
)


@pytest.mark.parametrize("text", NO_SECRETS)
def test_text_that_only_resembles_a_secret_is_not_masked(text: str) -> None:
    assert Scrubber().mask_text(text) == text


@given(st.lists(PIECES, max_size=24).map("".join))
@example("password=\"a\"b 'c'")
@example("['--password', 'x']")
def test_masking_is_idempotent(text: str) -> None:
    masked = Scrubber().mask_text(text)
    assert Scrubber().mask_text(masked) == masked


@pytest.mark.parametrize(
    ("fields", "masked"),
    [
        (
            {"db_pass": "x", "pw": "x", "dbPass": "x"},
            {"db_pass": "***", "pw": "***", "dbPass": "***"},
        ),
        ({"password": 123456, "n": 1}, {"password": "***", "n": 1}),
        (
            {"X-Amz-Signature": "x", "AccountKey": "x"},
            {"X-Amz-Signature": "***", "AccountKey": "***"},
        ),
        (
            {"headers": [["authorization", "x"], ["host", "h"]]},
            {"headers": [["authorization", "***"], ["host", "h"]]},
        ),
        ({"argv": ["run", "--password", "x", "-v"]}, {"argv": ["run", "--password", "***", "-v"]}),
        ({"max_tokens": 4096, "token_type": "x"}, {"max_tokens": 4096, "token_type": "x"}),
        (
            {"session_id": 7, "tokens": {"in": 700_000}},
            {"session_id": 7, "tokens": {"in": 700_000}},
        ),
        (
            {"is_password_set": True, "secretary": "Ann"},
            {"is_password_set": True, "secretary": "Ann"},
        ),
    ],
)
def test_fields_are_masked_by_name_and_value(
    fields: dict[str, Any], masked: dict[str, Any]
) -> None:
    assert json.loads(Scrubber().mask_fields(json.dumps(fields).encode())) == masked


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("redis://:p@ss/w0rd@host", "p@ss"),
        ("Authorization: Token abcdef", "abcdef"),
        ('{"said": "{\\"password\\": \\"hunter2\\"}"}', "hunter2"),
        ('password="abc without an end', "abc"),
    ],
)
def test_secret_is_removed_from_text(text: str, secret: str) -> None:
    assert secret not in Scrubber().mask_text(text)


@pytest.mark.parametrize(("text", "masked"), SECRETS)
def test_only_secrets_are_masked(text: str, masked: str) -> None:
    assert Scrubber().mask_text(text) == masked
