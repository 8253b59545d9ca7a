"""Bytes of a file as a failing disk, a cut copy or a hand in an editor leave them."""

_WORDS = (b"0", b"-", b"[", b"{", b'"', b"null", b"1e999", b"NaN", b"99999999999", b"\xff")


def damaged(rng, content):
    """The content with one fault: bits flipped, bytes lost, added or replaced, a cut, a token."""
    content = bytearray(content)
    place = int(rng.integers(len(content)))
    early = int(rng.integers(min(len(content), 1000)))  # headers are short
    match rng.integers(6):
        case 0:
            content[place] ^= 1 << int(rng.integers(8))
        case 1:
            content = content[:place]
        case 2:
            del content[place : place + int(rng.integers(1, 50))]
        case 3:
            content[place:place] = rng.bytes(int(rng.integers(1, 30)))
        case 4:
            content[early : early + 8] = rng.bytes(8)
        case _:
            content[early : early + 1] = _WORDS[rng.integers(len(_WORDS))]
    return bytes(content)


def error_of(call, *arguments):
    """What a named error says, or nothing; any other error is a fault of what is called."""
    try:
        call(*arguments)
    except (ValueError, FileNotFoundError) as error:
        return str(error)
    return ""
