"""Two agents in one call, each in a place of its own: whom the caller is handed over to is heard before they speak.

    python examples/scenes_by_agent.py dev

needs LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET; the models are called through LiveKit's inference service.
"""

import asyncio

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, cli, function_tool

import soundscape
from soundscape import Soundscape, prewarm

# The scenes' sounds are decoded before a call comes: `switch` has nothing to wait for.
server = AgentServer(setup_fnc=prewarm("office", "call-center"))


class Receptionist(Agent):
    def __init__(self, background: Soundscape) -> None:
        super().__init__(instructions="You are a receptionist. Hand callers with an order over to the order desk.")
        self._background = background

    async def on_enter(self) -> None:
        self.session.generate_reply(instructions="Greet the caller and offer your help.")

    @function_tool
    async def hand_over_to_the_order_desk(self) -> Agent:
        """For all that is about an order."""
        return OrderDesk(self._background)


class OrderDesk(Agent):
    def __init__(self, background: Soundscape) -> None:
        super().__init__(instructions="You are the order desk, on a busy floor. Answer in one or two short sentences.")
        self._background = background

    async def on_enter(self) -> None:
        # In a thread: where a sound is not decoded yet, that takes its time. `crossfade` is the way to the new place.
        await asyncio.to_thread(self._background.switch, "call-center", crossfade=1.5)
        self.session.generate_reply(instructions="Say who you are and ask for the order's number.")


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    session: AgentSession[None] = AgentSession(
        stt="deepgram/nova-3",
        llm="openai/gpt-4.1-mini",
        tts="cartesia/sonic-3",
    )
    background = soundscape.use(session, Soundscape.from_file("office"))
    await session.start(Receptionist(background), room=ctx.room)


if __name__ == "__main__":
    cli.run_app(server)
