import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from expunge.certify import dsse
from expunge.certify.keys import SigningKey

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
KIND = "http://example.com/HelloWorld"


def envelope(**changes):
    """A good envelope as plain data, with changes."""
    return {**json.loads(dsse.sign(b"hello world", payload_type=KIND, key=KEY)), **changes}


def as_bytes(data):
    return json.dumps(data).encode()


def test_pae_is_the_published_vector():
    # github.com/secure-systems-lab/dsse, protocol.md, "Test Vectors".
    assert dsse.pae(KIND, b"hello world") == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


@given(st.text(), st.binary(), st.text(), st.binary())
def test_pae_tells_any_two_messages_apart(kind, payload, other_kind, other_payload):
    same = (kind, payload) == (other_kind, other_payload)
    assert (dsse.pae(kind, payload) == dsse.pae(other_kind, other_payload)) == same


@given(st.binary(max_size=300))
def test_round_trip(payload):
    read = dsse.read(dsse.sign(payload, payload_type=KIND, key=KEY))
    assert (read.payload, read.payload_type) == (payload, KIND)
    assert read.signed_by(KEY.private.public_key())
    assert not read.signed_by(OTHER.private.public_key())


def test_signing_twice_gives_equal_bytes():
    assert dsse.sign(b"x", payload_type=KIND, key=KEY) == dsse.sign(b"x", payload_type=KIND, key=KEY)


def test_the_signature_is_over_type_and_payload():
    public = KEY.private.public_key()
    assert dsse.read(as_bytes(envelope())).signed_by(public)
    assert not dsse.read(as_bytes(envelope(payloadType="text/plain"))).signed_by(public)
    assert not dsse.read(as_bytes(envelope(payload=base64.b64encode(b"hello World").decode()))).signed_by(public)


def test_a_signature_of_another_message_does_not_count():
    other = json.loads(dsse.sign(b"other", payload_type=KIND, key=KEY))
    assert not dsse.read(as_bytes(envelope(signatures=other["signatures"]))).signed_by(KEY.private.public_key())


def test_the_key_id_is_never_what_decides():
    """Naming a trusted key is free; and a signature counts only under the key it names."""
    forged = json.loads(dsse.sign(b"hello world", payload_type=KIND, key=OTHER))["signatures"][0]
    public = KEY.private.public_key()
    assert not dsse.read(as_bytes(envelope(signatures=[{**forged, "keyid": KEY.key_id}]))).signed_by(public)
    misnamed = {**envelope()["signatures"][0], "keyid": OTHER.key_id}
    assert not dsse.read(as_bytes(envelope(signatures=[misnamed]))).signed_by(public)


def test_one_of_several_signatures_is_enough():
    own, others = envelope(), json.loads(dsse.sign(b"hello world", payload_type=KIND, key=OTHER))
    both = dsse.read(as_bytes(envelope(signatures=[*others["signatures"], *own["signatures"]])))
    assert both.signed_by(KEY.private.public_key())
    assert both.signed_by(OTHER.private.public_key())


def test_a_signature_of_wrong_length_does_not_count():
    short = {**envelope()["signatures"][0], "sig": base64.b64encode(b"short").decode()}
    assert not dsse.read(as_bytes(envelope(signatures=[short]))).signed_by(KEY.private.public_key())


@pytest.mark.parametrize("byte", [*range(8), *b' \t\n"\\-_+/=0Aa', 0x80, 0xFF])
def test_any_changed_byte_is_noticed(byte):
    """At every place, each bit flipped (0..7) or the byte replaced (the others)."""
    original = dsse.sign(b"hello world \xfb\xff", payload_type=KIND, key=KEY)
    unnoticed = []
    for place, old in enumerate(original):
        new = old ^ (1 << byte) if byte < 8 else byte
        changed = original[:place] + bytes([new]) + original[place + 1 :]
        if new != old and accepted(changed):
            unnoticed.append(place)
    assert unnoticed == []


def accepted(data):
    try:
        return dsse.read(data).signed_by(KEY.private.public_key())
    except dsse.BadEnvelope:
        return False


def test_the_unchanged_envelope_is_accepted():
    assert accepted(dsse.sign(b"hello world \xfb\xff", payload_type=KIND, key=KEY))


@given(st.integers(0, 200))
def test_a_truncated_envelope_is_refused(length):
    original = dsse.sign(b"hello world", payload_type=KIND, key=KEY)
    assert len(original) > 200
    with pytest.raises(dsse.BadEnvelope):
        dsse.read(original[:length])


@given(st.binary(max_size=60))
def test_garbage_is_refused_and_not_quoted(data):
    with pytest.raises(dsse.BadEnvelope) as caught:
        dsse.read(data)
    assert str(caught.value).isprintable()


def twisted(value):
    """The same bytes in base64 that a tolerant reader accepts, too."""
    return {
        "newline": value + "\n",
        "no padding": value.rstrip("="),
        "loose bits": value[:-2] + "R=",
        "space": f" {value}",
    }


PAYLOAD = envelope()["payload"]
BAD = {
    "empty": b"",
    "list": b"[]",
    "null": b"null",
    "deep": b"[" * 100_000,
    "byte order mark": b"\xef\xbb\xbf" + as_bytes(envelope()),
    "not UTF-8": b'"\xff"',
    "unknown key": as_bytes(envelope(extra=1)),
    "missing key": as_bytes({key: value for key, value in envelope().items() if key != "payloadType"}),
    "key twice": as_bytes(envelope())[:-1] + b', "payload": "AAAA"}',
    "no signatures": as_bytes(envelope(signatures=[])),
    "signatures no list": as_bytes(envelope(signatures={"keyid": "", "sig": ""})),
    "signature no object": as_bytes(envelope(signatures=["x"])),
    "signature with more": as_bytes(envelope(signatures=[{"keyid": "", "sig": "", "cert": ""}])),
    "payload no text": as_bytes(envelope(payload=5)),
    "type no text": as_bytes(envelope(payloadType=None)),
    "type not plain": as_bytes(envelope(payloadType="a\u001b[2J")),
    "type a lone surrogate": as_bytes(envelope(payloadType="\ud800")),
    "URL-safe base64": as_bytes(envelope(payload="-_-_")),
    "NaN": b'{"payload": NaN, "payloadType": "", "signatures": []}',
    **{name: as_bytes(envelope(payload=value)) for name, value in twisted(PAYLOAD).items()},
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_envelope_is_refused(name):
    with pytest.raises(dsse.BadEnvelope):
        dsse.read(BAD[name])


def test_twisted_base64_says_the_same_to_a_tolerant_reader():
    """Else the cases above are refused for a reason of no interest."""
    forms = [value for name, value in twisted(PAYLOAD).items() if name != "no padding"]
    assert {base64.b64decode(value) for value in forms} == {b"hello world"}
