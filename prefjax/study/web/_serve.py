"""One process that serves a study on an address of this machine."""

from pathlib import Path

import uvicorn

from prefjax.io import FolderLock
from prefjax.parallel import use_compilation_cache
from prefjax.study.engine import DATA, StudyEngine
from prefjax.study.materials import read_materials
from prefjax.study.web.app import StudySite

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    data: Path | None = None,
    is_proxied: bool = False,
) -> None:
    """Serves until it is stopped.

    Args:
        folder: The study.
        host: Address to listen on.
        port: Port to listen on; 0 for any.
        data: Folder of the database; ``data`` below that of the study by default.
        is_proxied: Whether a proxy on this machine stands before it and speaks HTTPS with the
            outside; its headers are then believed.

    Raises:
        RuntimeError: Another process serves the study.
        ValueError: The address can be reached from elsewhere, and no proxy was promised.
    """
    if host not in LOOPBACK and not is_proxied:
        raise ValueError(
            f"{host} can be reached from other machines, and this server speaks plain HTTP: links "
            "and answers could be read on the way. Put a proxy with TLS (nginx, Caddy) before it "
            "and pass --behind-proxy, or leave the host at 127.0.0.1."
        )
    use_compilation_cache()
    materials = read_materials(folder)
    data = folder / DATA if data is None else data
    data.mkdir(parents=True, exist_ok=True)
    with FolderLock(data):
        engine = StudyEngine(materials, data)
        engine.warm()
        site = StudySite(engine, is_secure=is_proxied)
        config = uvicorn.Config(
            site.app,
            host=host,
            port=port,
            log_level="warning",
            access_log=False,  # paths hold the secrets of participants
            server_header=False,
            proxy_headers=is_proxied,
            forwarded_allow_ips="127.0.0.1,::1" if is_proxied else None,
            timeout_keep_alive=20,
            limit_concurrency=500,
            h11_max_incomplete_event_size=32768,
        )
        _Server(config, site.researcher_token, materials.config.recruiting.parameters).run()
        engine.close()


class _Server(uvicorn.Server):
    """Says where it listens, once it does."""

    def __init__(self, config: uvicorn.Config, token: str, parameters: tuple[str, ...]):
        super().__init__(config)
        self._token, self._parameters = token, parameters

    async def startup(self, sockets=None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        if not self.started:
            return
        port = self.servers[0].sockets[0].getsockname()[1]
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        query = "&".join(f"{name}=…" for name in self._parameters)
        print(
            f"Participants: http://{host}:{port}/    (from a recruiting site: /?{query})\n"
            f"Researcher:   http://{host}:{port}/researcher    token {self._token}",
            flush=True,
        )
