"""Which signatures and tokens are accepted."""

from __future__ import annotations

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.webhooks.signatures import TOLERANCE, SignatureError, is_token, key_id_of, verify_standard, verify_token
from tests.unit.webhooks.signing import KEY, KEY_ID, NOW, OTHER, jwks, payload, rsa_key, signature, signed, token

BODY = payload()
JWK = jwt.PyJWKSet.from_dict(jwks())[KEY_ID]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(signed(BODY), id="plain"),
        pytest.param(signed(BODY, OTHER, KEY), id="rotating"),
        pytest.param(signed(BODY, at=NOW - TOLERANCE + 1), id="slow"),
        pytest.param(signed(BODY, at=NOW + TOLERANCE - 1), id="a clock ahead"),
        pytest.param({**signed(BODY), "webhook-signature": f"v1a,xyz v2,abc {signature(BODY)}"}, id="other versions"),
    ],
)
def test_a_valid_signature_is_accepted(headers):
    assert verify_standard(headers, BODY, [KEY], now=NOW).message_id == "msg_1"


def test_either_secret_is_accepted():
    assert verify_standard(signed(BODY, OTHER), BODY, [KEY, OTHER], now=NOW)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="nothing"),
        pytest.param(signed(BODY, OTHER), id="wrong key"),
        pytest.param(signed(BODY + b" "), id="altered body"),
        pytest.param({**signed(BODY), "webhook-id": "msg_2"}, id="altered id"),
        pytest.param({**signed(BODY), "webhook-timestamp": str(int(NOW) + 1)}, id="altered time"),
        pytest.param(signed(BODY, at=NOW - TOLERANCE - 1), id="old"),
        pytest.param(signed(BODY, at=NOW + TOLERANCE + 1), id="of the future"),
        pytest.param({**signed(BODY), "webhook-timestamp": "١٢٣"}, id="digits that are none"),
        pytest.param({**signed(BODY), "webhook-timestamp": "9" * 500}, id="long time"),
        pytest.param({**signed(BODY), "webhook-timestamp": "-1"}, id="negative time"),
        pytest.param({**signed(BODY), "webhook-signature": ""}, id="no signature"),
        pytest.param({**signed(BODY), "webhook-signature": "v1,"}, id="empty signature"),
        pytest.param({**signed(BODY), "webhook-signature": signature(BODY).removeprefix("v1,")}, id="no version"),
        pytest.param({**signed(BODY), "webhook-signature": signature(BODY).replace("v1,", "v2,")}, id="another version"),
        pytest.param({**signed(BODY), "webhook-signature": "v1,ä\xff"}, id="no ascii"),
        pytest.param({**signed(BODY), "webhook-signature": "v1,x " * 50 + signature(BODY)}, id="behind many others"),
    ],
)
def test_a_bad_signature_is_refused(headers):
    with pytest.raises(SignatureError):
        verify_standard(headers, BODY, [KEY], now=NOW)


def test_without_a_secret_nothing_is_accepted():
    with pytest.raises(SignatureError):
        verify_standard(signed(BODY), BODY, [], now=NOW)


@given(
    st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text(max_size=60)), st.binary()
)
def test_garbage_raises_nothing_but_signature_error(headers, body):
    with pytest.raises(SignatureError):
        verify_standard(headers, body, [KEY], now=NOW)


DAY = 86_400.0


def check(text, **given):
    return verify_token({"webhook-signature": text}, JWK, **{"audience": "https://us/hook", "lifetime": DAY, "now": NOW, **given})


@pytest.mark.parametrize(
    "claims", [{}, {"exp": None}, {"iat": None}, {"aud": ["https://us/hook", "x"]}, {"nbf": int(NOW)}, {"exp": int(NOW + DAY)}]
)
def test_a_valid_token_is_accepted(claims):
    assert check(token(**claims)).message_id == "msg_1"


def test_an_id_in_the_headers_takes_precedence():
    headers = {"webhook-signature": token(jti="other"), "webhook-id": "msg_7"}

    assert verify_token(headers, JWK, audience="https://us/hook", lifetime=DAY, now=NOW).message_id == "msg_7"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(token(key=rsa_key(1)), id="another key"),
        pytest.param(token(aud="https://them/hook"), id="for somebody else"),
        pytest.param(token(aud=None), id="no audience"),
        pytest.param(token(iat=int(NOW) - 400, exp=None), id="old"),
        pytest.param(token(iat=int(NOW) + 400), id="of the future"),
        pytest.param(token(iat=None, exp=int(NOW) - 400), id="expired"),
        pytest.param(token(iat=None, exp=None), id="good for ever"),
        pytest.param(token(nbf=int(NOW) + 400), id="not yet"),
        pytest.param(token(exp=int(NOW + DAY) + 400), id="good for too long"),
        pytest.param(token(iat=None, exp=int(NOW + DAY) + 400), id="good for too long and not dated"),
        pytest.param(token(exp=1e11), id="good for thousands of years"),
        pytest.param(token(iat="soon"), id="no time"),
        pytest.param(token(key=b"x" * 32, algorithm="HS256"), id="another algorithm"),
        pytest.param(token(key="", algorithm="none"), id="unsigned"),
        pytest.param(token()[:-6] + "AAAAAA", id="altered"),
        pytest.param("a.b.c", id="garbage"),
    ],
)
def test_a_bad_token_is_refused(text):
    with pytest.raises(SignatureError):
        check(text)


def test_audience_and_issuer_are_checked():
    assert check(token(aud="anything"), audience="*")
    assert check(token(aud=None), audience="*")
    assert check(token(), issuer="google")
    with pytest.raises(SignatureError):
        check(token(), issuer="another")


def test_how_long_a_token_may_be_valid_can_be_set():
    assert check(token(exp=int(NOW) + 7 * 86_400), lifetime=7 * DAY)
    with pytest.raises(SignatureError, match=r"another 3,600 s; at most 60 s are accepted \(webhook_token_lifetime\)"):
        check(token(exp=int(NOW) + 3_600), lifetime=60.0)


def test_a_token_names_its_key_and_its_algorithm():
    assert key_id_of({"webhook-signature": token()}) == KEY_ID
    for text in (token(kid=None), token(key="", algorithm="none"), "a.b.c", "", "ä.ö.ü"):
        with pytest.raises(SignatureError):
            key_id_of({"webhook-signature": text})


def test_the_two_kinds_of_signature_are_distinguished():
    assert is_token({"webhook-signature": token()})
    assert not is_token(signed(BODY))
    assert not is_token({})
