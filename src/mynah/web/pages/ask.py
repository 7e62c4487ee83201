"""The Ask page: a question, an answer sentence by sentence, the posts it rests on.

Reads the assistant, the ad server and the state of the job; a conversation lives in the tab.
"""

import asyncio
from urllib.parse import quote_plus

from nicegui import app, ui
from nicegui.events import GenericEventArguments

from mynah.ads import Impression
from mynah.errors import MachineError, MynahError
from mynah.posts import forgotten_ids
from mynah.serve import Sampling
from mynah.web.answering import AnswerStream
from mynah.web.house import House
from mynah.web.markup import box, icon, text
from mynah.web.pages.turns import Turn, TurnView, messages_of
from mynah.web.shell import shell
from mynah.web.wording import duration

__all__ = ["register_ask"]

_ENTER_JS = "(e) => { if (!e.shiftKey && !e.isComposing) { e.preventDefault(); emit(); } }"
_SCROLL_JS = "scrollTo({top: document.body.scrollHeight, behavior: 'smooth'})"
_FOLLOW_PX = 240
_FOLLOW_JS = (
    f"if (innerHeight + scrollY > document.body.scrollHeight - {_FOLLOW_PX}) "
    "scrollTo({top: document.body.scrollHeight})"
)
"""Keeps the end of a growing answer in view, unless the reader has scrolled away from it."""


def register_ask(house: House) -> None:
    """Put the page at ``/``."""

    @ui.page("/")
    async def ask_page(q: str = "") -> None:
        with shell(house, "Ask"):
            page = AskPage(house)
            page.build(q)
        await ui.context.client.connected()
        page.restore(app.storage.tab.setdefault("conversation", Conversation()))


class Conversation:
    """The turns of one browser tab, over reloads; and the answer on its way, if there is one."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.stream: AnswerStream | None = None

    def stop(self) -> None:
        """Stop the answer on its way."""
        if self.stream is not None:
            self.stream.cancel()
            self.stream = None
            self.turns[-1].is_stopped = True


class AskPage:
    """One open Ask page: its elements and its tab's conversation."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.client = ui.context.client
        self.conversation = Conversation()

    def build(self, prefilled: str) -> None:
        """Lay out the page, empty."""
        self.turns = box("div", "conversation")
        with self.turns:
            self.hello = box("section", "hello")
        self._fill_hello()
        with box("div", "composer"):
            with box("div", "composer-box"):
                self.field = ui.textarea(placeholder="Ask the network", value=prefilled).props(
                    'borderless autogrow rows=1 data-box aria-label="Your question"'
                )
                self.field.on("keydown.enter", self._submit, js_handler=_ENTER_JS)
                self.send = box("button", "send", type="button").on("click", self._click)
            with box("div", "composer-note"):
                self.note = text("span", "", "composer-hint")
                self.new = text("button", "New conversation", "linklike push", type="button")
                self.new.on("click", self._start_over)
        self._refresh()
        ui.timer(1.0, self._refresh)
        self.client.on_delete(lambda: self.conversation.stop())

    def restore(self, conversation: Conversation) -> None:
        """Draw the turns of this tab again, as after a reload."""
        self.conversation = conversation
        conversation.stop()  # its reader was the page before the reload
        self._draw_turns()
        self._refresh()

    def _draw_turns(self) -> None:
        for view in list(self.turns)[1:]:  # the first is the greeting
            view.delete()
        for number, turn in enumerate(self.conversation.turns):
            with self.turns:
                TurnView(turn, number)

    def _forget(self) -> None:
        """Leave out answers from a post that was taken back since."""
        turns = self.conversation.turns
        gone = forgotten_ids(self.house.workspace.posts)
        kept = [turn for turn in turns if not turn.shows(gone)]
        if len(kept) < len(turns) and self.conversation.stream is None:
            turns[:] = kept
            self._draw_turns()

    def _fill_hello(self) -> None:
        self.hello.clear()
        with self.hello:
            text("h1", "Ask the network")
            text("p", "Answers come from the posts. Every sentence names the posts it rests on.",
                 "lead")  # fmt: skip
            self.questions = self.house.questions
            with box("div", "hello-questions"):
                if not self.questions and self.house.index is None:
                    for _ in range(4):
                        box("div", "hello-question skeleton")
                for question in self.questions:
                    button = text("button", question, "hello-question", type="button")
                    button.on("click", lambda _, q=question: self._ask(q))

    def _refresh(self) -> None:
        """Follow the job: questions come with the posts, the assistant with its model."""
        if self.questions != self.house.questions:
            self._fill_hello()
        self._forget()
        has_turns = bool(self.conversation.turns)
        self.hello.set_visibility(not has_turns)
        self.new.set_visibility(has_turns and self.conversation.stream is None)
        state = (
            "stop" if self.conversation.stream else "ask" if self.house.pool.models else "search"
        )
        self.note.text = self._note(state)
        if self.send.props.get("data-state") == state:
            return
        self.send.props["data-state"] = state
        self.note.props["data-state"] = state
        self.send.props["aria-label"] = {"stop": "Stop", "ask": "Ask", "search": "Search"}[state]
        self.send.classes(add="worded" if state == "search" else "", remove="worded"
                          if state != "search" else "")  # fmt: skip
        self.send.clear()
        with self.send:
            if state == "search":
                text("span", "Search")
            else:
                icon("stop" if state == "stop" else "send")

    def _note(self, state: str) -> str:
        if state == "stop":
            return "Writing. Press the square to stop."
        if state == "ask":
            return "Enter asks, Shift+Enter starts a new line."
        if self.house.index is None:
            return "Your posts are being read. Search opens in a moment, the assistant after it."
        base = next((s for s in self.house.stages if s.name == "base"), None)
        if base is not None and base.state == "failed":
            return "The assistant could not be loaded. Search works."
        left = f"in about {duration(base.eta_s)}" if base and base.eta_s else "in a moment"
        return f"The assistant is here {left}. Until then, your words search the posts."

    async def _click(self) -> None:
        if self.conversation.stream is not None:
            self.conversation.stop()
        else:
            await self._submit()

    async def _submit(self, _: GenericEventArguments | None = None) -> None:
        question = str(self.field.value or "").strip()
        if question and self.conversation.stream is None:
            await self._ask(question)

    async def _ask(self, question: str) -> None:
        if self.conversation.stream is not None:
            return
        if not self.house.pool.models:
            ui.navigate.to(f"/search?q={quote_plus(question)}")
            return
        messages = messages_of(self.conversation.turns, question)
        turn = Turn(question)
        self.conversation.turns.append(turn)
        self.field.value = ""
        with self.turns:
            view = TurnView(turn, len(self.conversation.turns) - 1)
        assistant = self.house.assistant
        stream = AnswerStream(lambda: assistant.answer(messages, sampling=Sampling()))
        self.conversation.stream = stream
        self._refresh()
        ui.run_javascript(_SCROLL_JS)
        await self._follow(stream, turn, view)

    async def _follow(self, stream: AnswerStream, turn: Turn, view: TurnView) -> None:
        try:
            async for event in stream.events():
                turn.events.append(event)
                view.add(event)
                ui.run_javascript(_FOLLOW_JS)
            if not stream.is_cancelled:
                turn.ad = await self._end_of(turn)
        except MynahError as error:
            turn.error = error
            self.field.value = self.field.value or turn.question  # keep what was typed
        if self.conversation.stream is stream:
            self.conversation.stream = None
        if not self.client.is_deleted:
            view.end()
            self._refresh()
            ui.run_javascript(_FOLLOW_JS)

    async def _end_of(self, turn: Turn) -> Impression | None:
        if not turn.is_finished:  # the thread died of something outside our error tree
            raise MachineError(
                "the answer broke off", hint="ask again; the server's log says why it did"
            )
        return await asyncio.to_thread(self.house.ad_server.select, turn.question, placement="chat")

    def _start_over(self) -> None:
        self.conversation.stop()
        self.conversation.turns.clear()
        self._draw_turns()
        self._refresh()
