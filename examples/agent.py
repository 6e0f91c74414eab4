"""A LiveKit agent in an office: a normal agent, and the one line that gives it a background.

    python examples/agent.py dev

needs LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET. With LiveKit Cloud the models are called through its
inference service. With a server of your own no other key is needed: a script answers what the caller types. In two
terminals:

    livekit-server --dev
    LIVEKIT_URL=ws://127.0.0.1:7880 LIVEKIT_API_KEY=devkey LIVEKIT_API_SECRET=secret python examples/agent.py dev

and then join any room of it, with any client of LiveKit's that has a chat. Without any server, on the speakers:

    python examples/agent.py console
"""

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, cli

import soundscape
from soundscape import Soundscape, prewarm
from soundscape.demo.models import models

server = AgentServer(setup_fnc=prewarm("office"))  # no call waits for a decode


class Assistant(Agent):
    def __init__(self) -> None:
        super().__init__(instructions="You are a friendly order desk. Answer in one or two short sentences.")

    async def on_enter(self) -> None:
        self.session.generate_reply(instructions="Greet the caller and offer your help.")


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    session: AgentSession[None] = AgentSession(
        **models(stt="deepgram/nova-3", llm="openai/gpt-4.1-mini", tts="cartesia/sonic-3")
    )
    # The line. `session.use(...)` does the same; this spelling is known to type checkers.
    soundscape.use(session, Soundscape.from_file("office"))

    await session.start(Assistant(), room=ctx.room)


if __name__ == "__main__":
    cli.run_app(server)
