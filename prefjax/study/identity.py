"""Who somebody is, without saying it: secret links, tokens against forgery, hashes of ids.

One secret of 256 bits lies beside the database (``secret.key``, readable by its owner alone). A
participant's link holds ``HMAC(secret, nonce)``, 256 bits; the database knows its SHA-256 only, so
that who reads the database cannot answer for anybody.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

FILE = "secret.key"
_BYTES = 32


def read_secret(folder: Path) -> bytes:
    """The secret of a study, made if there is none.

    Args:
        folder: Where the database lies.

    Raises:
        ValueError: The file is damaged.
    """
    path = folder / FILE
    folder.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        secret = path.read_bytes()
        if len(secret) != _BYTES:
            raise ValueError(
                f"{path} has {len(secret)} bytes instead of {_BYTES}; restore it from a backup: "
                "the links of participants depend on it."
            ) from None
        return secret
    with os.fdopen(handle, "wb") as file:
        file.write(secret := secrets.token_bytes(_BYTES))
        file.flush()
        os.fsync(file.fileno())
    return secret


def make_token(secret: bytes, purpose: str, nonce: bytes = b"") -> str:
    """256 bits for a URL or a form, which only the holder of the secret can make.

    Args:
        secret: Of the study.
        purpose: What the token is for.
        nonce: Of whom it is.
    """
    message = purpose.encode() + b"\0" + nonce
    digest = hmac.new(secret, message, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def form_token(token: str) -> str:
    """What a participant's forms must carry, from the participant's own secret."""
    return make_token(token.encode(), "form")


def hash_token(token: str) -> bytes:
    """What the database knows of a link."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def is_same(first: str, second: str) -> bool:
    """Whether two tokens agree, in a time that does not tell where they differ."""
    return hmac.compare_digest(first.encode("utf-8", "replace"), second.encode("utf-8", "replace"))


def hash_recruiting(salt: bytes, parameters: Mapping[str, str]) -> bytes:
    """Salted hash of recruiting ids."""
    return hmac.new(salt, json.dumps(parameters, sort_keys=True).encode(), hashlib.sha256).digest()
