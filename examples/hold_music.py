"""Music on hold: the caller hears it while a colleague is asked, and the office again when there is an answer.

    python examples/hold_music.py dev

needs LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET; the models are called through LiveKit's inference service.
"""

import asyncio

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, RunContext, cli, function_tool

import soundscape
from soundscape import Soundscape

server = AgentServer()


class Receptionist(Agent):
    def __init__(self, background: Soundscape) -> None:
        super().__init__(
            instructions="You are a receptionist. What you do not know, ask a colleague: say first that you will, "
            "and that the caller may hold the line."
        )
        self._background = background

    @function_tool
    async def ask_a_colleague(self, ctx: RunContext[None], question: str) -> str:
        """Asks a colleague, which takes a while; meanwhile the caller is on hold.

        Args:
            question: what the caller wants to know.
        """
        await ctx.wait_for_playout()  # "please hold the line"
        self._background.set_state("on_hold")
        try:
            return await ring(question)
        finally:
            self._background.set_state(None)  # also where the call was transferred, failed, or the tool was cancelled


async def ring(question: str) -> str:
    """Stands for a colleague's telephone."""
    await asyncio.sleep(2)
    return "The lamp is sold out; there will be more on Thursday."


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    session: AgentSession[None] = AgentSession(
        stt="deepgram/nova-3",
        llm="openai/gpt-4.1-mini",
        tts="cartesia/sonic-3",
    )
    background = soundscape.use(session, Soundscape.from_file("on-hold"))
    await session.start(Receptionist(background), room=ctx.room)


if __name__ == "__main__":
    cli.run_app(server)
