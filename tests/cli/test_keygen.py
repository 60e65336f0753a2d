import stat

from expunge.certify import keys


def test_it_makes_a_pair_and_says_what_to_do(call, tmp_path):
    result = call("keygen", "--out", tmp_path / "acme")
    assert (result.code, result.out) == (0, "")
    assert keys.load_private(tmp_path / "acme").key_id in result.err
    assert "Keep the private file secret" in result.err
    assert stat.S_IMODE((tmp_path / "acme").stat().st_mode) == 0o600


def test_json_names_the_files(call, tmp_path):
    result = call("keygen", "--out", tmp_path, "--json")
    assert (result.code, result.err) == (0, "")
    assert result.json == {
        "private": str(tmp_path / keys.DEFAULT_NAME),
        "public": str(tmp_path / f"{keys.DEFAULT_NAME}.pub"),
        "key_id": keys.key_id(keys.load_public(tmp_path / f"{keys.DEFAULT_NAME}.pub")),
    }


def test_the_secret_is_never_printed(call, tmp_path):
    result = call("keygen", "--out", tmp_path / "acme")
    secret = (tmp_path / "acme").read_text().splitlines()[1]
    assert secret not in result.err


def test_it_never_overwrites(call, tmp_path):
    call("keygen", "--out", tmp_path / "acme")
    before = (tmp_path / "acme").read_bytes()
    result = call("keygen", "--out", tmp_path / "acme")
    assert result.code == 2
    assert result.err.startswith("error: a key file is never overwritten")
    assert (tmp_path / "acme").read_bytes() == before


def test_the_key_is_no_development_key(call, tmp_path):
    call("keygen", "--out", tmp_path / "acme")
    assert not keys.load_private(tmp_path / "acme").development
