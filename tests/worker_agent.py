"""An agent for tests of workers: in each room the scene of the room's name, from a folder.

    python worker_agent.py start|dev

`WORKER_SCENES` is the folder. What a job found out about itself is there when it has ended, as `ROOM.json`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from pathlib import Path

from livekit.agents import Agent, AgentServer, AgentSession, ChatMessage, ConversationItemAddedEvent, JobContext, cli

import soundscape
from soundscape import Soundscape, prewarm
from soundscape.demo.scripted import Completion, ScriptedLLM, ScriptedTTS
from soundscape.library import count_loads

FOLDER = Path(os.environ["WORKER_SCENES"])
GOODBYE = "Goodbye."
"""The job that is told so ends itself."""
ANSWER = Completion("Your lamp is on its way.", think=3.0)


def load() -> float:
    """LiveKit's own is the machine's, which on a busy one refuses jobs."""
    return 0.0


server = AgentServer(setup_fnc=prewarm(*sorted(FOLDER.glob("*.toml"))), load_fnc=load, port=0, num_idle_processes=1)


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    session: AgentSession[None] = AgentSession(
        llm=ScriptedLLM(itertools.repeat(ANSWER)),
        tts=ScriptedTTS(),
        vad=None,
        turn_handling={"turn_detection": "manual"},
    )
    before = count_loads()
    background = soundscape.use(session, Soundscape.from_file(FOLDER / f"{ctx.room.name}.toml"))
    loads = {origin: number - before[origin] for origin, number in count_loads().items()}

    closed = asyncio.Event()
    session.on("close", lambda _: closed.set())

    async def tell() -> None:
        await asyncio.wait_for(closed.wait(), 5)  # the room may have gone first
        await background.aclose()  # is under way; here only waited for
        stats = background.stats
        told = {"worker": os.getsid(0), "loads": loads, "changes": stats.changes, "gaps": stats.gaps}
        told["log"] = [(entry.action, entry.key) for entry in background.engine.log]
        (FOLDER / f"{ctx.room.name}.json").write_text(json.dumps(told), "utf-8")

    def leave(event: ConversationItemAddedEvent) -> None:
        if isinstance(event.item, ChatMessage) and event.item.text_content == GOODBYE:
            ctx.shutdown()

    session.on("conversation_item_added", leave)
    ctx.add_shutdown_callback(tell)
    await session.start(Agent(instructions=""), room=ctx.room)


if __name__ == "__main__":
    cli.run_app(server)
