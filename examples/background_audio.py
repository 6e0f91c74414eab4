"""LiveKit's own background audio example, written anew on this engine: only the import says so.

    python examples/background_audio.py dev

needs LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET; the models are called through LiveKit's inference service.
"""

import asyncio

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, cli, function_tool

# Was: from livekit.agents import AudioConfig, BackgroundAudioPlayer, BuiltinAudioClip
from soundscape.background_audio import AudioConfig, BackgroundAudioPlayer, BuiltinAudioClip

server = AgentServer()


def office() -> BackgroundAudioPlayer:
    """A room in which somebody types while the agent thinks, three times of four."""
    return BackgroundAudioPlayer(
        ambient_sound=AudioConfig(BuiltinAudioClip.OFFICE_AMBIENCE, volume=0.8),
        thinking_sound=[
            AudioConfig(BuiltinAudioClip.KEYBOARD_TYPING, volume=0.8, probability=0.5),
            AudioConfig(BuiltinAudioClip.KEYBOARD_TYPING2, volume=0.7, probability=0.25),
        ],
    )


class Assistant(Agent):
    def __init__(self, background: BackgroundAudioPlayer) -> None:
        super().__init__(instructions="You are a friendly order desk. Look orders up before you speak of them.")
        self._background = background

    @function_tool
    async def look_up_order(self, order_number: str) -> str:
        """Looks up where an order is.

        Args:
            order_number: the number of the order.
        """
        music = self._background.play(
            AudioConfig(BuiltinAudioClip.HOLD_MUSIC, volume=0.5, fade_in=0.5, fade_out=0.5), loop=True
        )
        try:
            await asyncio.sleep(2)  # what a slow service takes
        finally:
            music.stop()
        await music  # its fade-out was heard
        return f"Order {order_number} is on its way."


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    session: AgentSession[None] = AgentSession(
        stt="deepgram/nova-3",
        llm="openai/gpt-4.1-mini",
        tts="cartesia/sonic-3",
    )
    background = office()
    await session.start(Assistant(background), room=ctx.room)
    await background.start(room=ctx.room, agent_session=session)
    ctx.add_shutdown_callback(background.aclose)


if __name__ == "__main__":
    cli.run_app(server)
