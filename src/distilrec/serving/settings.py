"""How a server is run."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["Settings"]


class Settings(BaseModel):
    """Settings of `distilrec serve`.

    bundle: the folder, which is watched for a new bundle every `watch` seconds; 0: only a SIGHUP takes one up.
    state: `sqlite:PATH`, `redis://HOST:PORT/DATABASE`, or None for a file beside the bundle. durable: SQLite waits for
    the disk at each click. keep_days: days after the last click of a user or session, after which its clicks are
    forgotten; 0: never.
    web: a folder that `distilrec export --to web` wrote, handed out at /; None for none.
    keys: API keys, one of which a request must carry; none: whoever reaches the server may ask. cors: origins whose
    pages may ask, none by default. rate: requests a second of one key, or address where there are none; None: as many
    as come. body_limit: bytes of a request. waiting: requests at once, beyond which new ones are told to come back.
    timeout: seconds within which a request must have been read.
    overlap: of the ten best items, the share that a bundle must have in common with what the student answered in
    PyTorch, lest it isn't taken up. recall: of the ten best items, the share that is to be found among 100,000 items or
    more, where not all are scored for each query; 1: all are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: Path
    state: str | None = None
    durable: bool = False
    keep_days: float = Field(default=90.0, ge=0, le=36_500, allow_inf_nan=False)
    web: Path | None = None
    watch: float = Field(default=2.0, ge=0)
    keys: tuple[str, ...] = ()
    body_limit: int = Field(default=1_000_000, ge=1_000)
    rate: float | None = Field(default=None, gt=0)
    cors: tuple[str, ...] = ()
    waiting: int = Field(default=256, ge=1)
    timeout: float = Field(default=10.0, gt=0)
    overlap: float = Field(default=0.95, ge=0, le=1)
    recall: float = Field(default=0.95, gt=0, le=1)

    @field_validator("keys")
    @classmethod
    def _hold_something(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        """An empty key, such as of a variable that isn't set, would let everyone in."""
        keys = tuple(key.strip() for key in keys)
        if not all(keys):
            raise ValueError("an API key is empty; give it, or leave it out for a server without keys")
        return keys

    @field_validator("state")
    @classmethod
    def _known(cls, state: str | None) -> str | None:
        if state is not None and not state.startswith(("sqlite:", "redis://", "rediss://", "unix://")):
            raise ValueError("state is sqlite:PATH or redis://HOST:PORT/DATABASE")
        return state

    @field_validator("web")
    @classmethod
    def _is_there(cls, web: Path | None) -> Path | None:
        if web is not None and not (web / "index.html").is_file():
            raise ValueError(f"{web} holds no page; write one with: distilrec export BUNDLE --to web --out {web}")
        return web

    def state_place(self) -> str:
        """Where the state is."""
        bundle = self.bundle.absolute()  # where a link leads changes, and a folder may hold several bundles
        return self.state or f"sqlite:{bundle.with_name(f'{bundle.name}.state.db')}"
