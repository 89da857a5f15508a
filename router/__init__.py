"""Decide who answers a chat request, and get the answer.

One idea: if the backend speaks the caller's format, relay its bytes; if not, translate
through one small set of events. A request makes these stops:

    request.py        ChatRequest: the caller's JSON, untouched, and the fields we read
    turns.py          what the human said, without what tools and agents wrapped around it
    classifier.py     score(): 0-100 points from a table of signals (reading.py: what is counted;
                      lexicon.json: the weights; followups.py: what a short turn inherits)
    privacy.py        what must not leave the machine (words.py: the user's; keyshapes.py: keys)
    background.py     what a program asked for itself: titles, tags, probes
    conversations.py  where this conversation was answered last
    availability.py   who is up
    decision.py       decide(): which side, and why; pure
    router.py         Router: puts all of this together; Call: tries the candidates in order
    local_client.py   LocalBackend: relays to LM Studio or any OpenAI-compatible server
    cloud_client.py   ClaudeBackend, GeminiBackend: SDK calls, streams, error mapping
    embedded.py       the built-in model: a llama.cpp server on loopback
    commit.py         a local answer is held back until it shows that it is one
                      (toolschema.py: are its tool calls ones that the caller can run)

    local/            what a local server is, can do now, and takes; its queue; how it is reached
    clouds/           what stands behind cloud_client.py; nothing else imports an SDK
    wire/             formats: pure functions, no I/O, no settings
    books/            the journal of every decision and its outcome, prices, figures, metrics
    tuning/           what another threshold would have done; for tune.py only

`backend.py` has the protocol between router.py and the backends, `events.py` what a model can
say, `errors.py` every failure, `build.py` settings to a Router. Imports point down only and
open nothing; an SDK is imported when its backend is first used.
"""
